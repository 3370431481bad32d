"""``tcp:host:port`` (``[::1]:port``): plain TCP, readable by anyone on the way: beyond loopback it must be asked for.

Option: ``insecure=yes`` for an address that is not loopback; better use ``tls:``.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import logging
import socket

from virtagent.errors import ChannelBusy, ChannelError, ChannelUnavailable, UrlError

from .facts import ChannelFacts, ProtocolFactory
from .holders import reason
from .listener import Listener, ServerListener
from .sockets import Connected, borrowed, keep_alive, paired
from .url import ChannelUrl

__all__ = ["OPTIONS", "actual_url", "check", "connect", "connect_error", "facts", "listen", "listen_error"]

OPTIONS = frozenset({"insecure"})

log = logging.getLogger(__name__)
_warned: set[str] = set()


def check(url: ChannelUrl) -> None:
    """Refuse anything but loopback unless ``insecure=yes``."""
    host, _ = url.host_port(empty_host=True)
    if not url.flag("insecure") and not _is_loopback(host):
        tls = f"tls:{url.target}?ca=...&cert=...&key=..."
        raise UrlError(f"{url} is not loopback and plain TCP is readable by anyone: use {tls}, or add ?insecure=yes")


async def connect(url: ChannelUrl, protocol_factory: ProtocolFactory) -> Connected:
    """Connect; see :func:`virtagent_transports.connect`."""
    host, port = url.host_port()
    _warn(url, host)
    protocol = protocol_factory(facts(url, connecting=True))
    try:
        made = await asyncio.get_running_loop().create_connection(lambda: protocol, host, port)
    except OSError as error:
        raise connect_error(url, error) from error
    with borrowed(made[0]) as sock:
        if sock is not None:
            keep_alive(sock)
    return paired(made)


async def listen(url: ChannelUrl, protocol_factory: ProtocolFactory) -> Listener:
    """Listen on one address; port 0 lets the system choose one, which the listener's ``url`` then tells."""
    host, port = url.host_port(empty_host=True)
    _warn(url, host)
    factory = functools.partial(protocol_factory, facts(url, connecting=False))
    try:
        sock = await bound_socket(host, port)
    except OSError as error:
        raise listen_error(url, error) from error
    actual = actual_url(url, sock)
    try:
        server = await asyncio.get_running_loop().create_server(factory, sock=sock)
    except BaseException:
        sock.close()
        raise
    return ServerListener(server, actual)


async def bound_socket(host: str, port: int) -> socket.socket:
    """A listening socket on the first of the host's addresses (one address, so that port 0 gives one port)."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, proto, _, address = found[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keep_alive(sock)
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(128)
    except BaseException:
        sock.close()
        raise
    return sock


def actual_url(url: ChannelUrl, sock: socket.socket) -> ChannelUrl:
    """The URL with the address and port that a listening socket really has."""
    host, port = sock.getsockname()[:2]
    return ChannelUrl(url.scheme, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", url.options)


def facts(url: ChannelUrl, *, connecting: bool) -> ChannelFacts:
    """The facts of a TCP connection, with or without TLS."""
    return ChannelFacts(scheme=url.scheme, name=url.redacted(), connecting=connecting)


def connect_error(url: ChannelUrl, error: OSError) -> ChannelError:
    """One line for a connection that did not come about."""
    if isinstance(error, socket.gaierror):
        text = f"its name cannot be resolved ({error.strerror}); check the host name"
    else:
        match error.errno:
            case errno.ECONNREFUSED:
                text = "nobody listens on that port; start the server, or check the port"
            case errno.ETIMEDOUT | errno.EHOSTUNREACH | errno.ENETUNREACH:
                text = f"{reason(error)}; check the address, the network and firewalls"
            case _:
                text = f"{reason(error)}; check that the server runs"
    return ChannelUnavailable(f"cannot connect to {url.redacted()}: {text}")


def listen_error(url: ChannelUrl, error: OSError) -> ChannelError:
    """One line for an address that cannot be had."""
    start = f"cannot listen on {url.redacted()}"
    if isinstance(error, socket.gaierror):
        return ChannelUnavailable(f"{start}: its name cannot be resolved ({error.strerror}); check the host name")
    match error.errno:
        case errno.EADDRINUSE:
            return ChannelBusy(f"{start}: another program listens there; choose another port, or find it with ss -ltnp")
        case errno.EADDRNOTAVAIL:
            return ChannelUnavailable(f"{start}: this machine does not have that address; see ip addr")
        case errno.EACCES:
            return ChannelUnavailable(f"{start}: no permission for ports below 1024; choose a higher one")
    return ChannelUnavailable(f"{start}: {reason(error)}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _warn(url: ChannelUrl, host: str) -> None:
    if not _is_loopback(host) and url.target not in _warned:
        _warned.add(url.target)
        log.warning("%s is plain TCP: anyone on the way can read and change it; tls: is the remedy", url)
