"""``vsock:cid:port``: sockets between a host and its guests (vsock(7)).

``cid`` is a number, or ``host`` (2, from inside a guest), ``local`` (1, the loopback) or ``any`` (to listen).
"""

from __future__ import annotations

import errno
import functools
import socket

from virtagent.errors import ChannelBusy, ChannelError, ChannelUnavailable, UrlError

from .facts import ChannelFacts, ProtocolFactory
from .holders import reason
from .listener import Listener, ServerListener
from .socket_transport import accepting, connected
from .sockets import Connected, connect_socket
from .url import ChannelUrl

__all__ = ["OPTIONS", "check", "connect", "listen"]

OPTIONS: frozenset[str] = frozenset()

ANY = 0xFFFFFFFF
"""VMADDR_CID_ANY, and VMADDR_PORT_ANY too."""

_NAMES = {"any": ANY, "local": 1, "host": 2}


def check(url: ChannelUrl) -> None:
    """Refuse what is not ``cid:port``."""
    _address(url)


async def connect(url: ChannelUrl, protocol_factory: ProtocolFactory) -> Connected:
    """Connect; see :func:`virtagent_transports.connect`."""
    address = _address(url)
    if address[0] == ANY:
        raise UrlError(f"{url} cannot be connected to: any is for listening; write a guest's cid, host or local")
    protocol = protocol_factory(_facts(url, connecting=True))
    sock = _new_socket(url)
    try:
        await connect_socket(sock, address)
    except OSError as error:
        sock.close()
        raise _problem(url, "connect to", error) from error
    except BaseException:
        sock.close()
        raise
    return await connected(protocol, sock)


async def listen(url: ChannelUrl, protocol_factory: ProtocolFactory) -> Listener:
    """Listen; port 0 lets the system choose one."""
    factory = functools.partial(protocol_factory, _facts(url, connecting=False))
    cid, port = _address(url)
    sock = _new_socket(url)
    try:
        sock.bind((cid, port or ANY))
        sock.listen(128)
        port = sock.getsockname()[1]
        server = await accepting(factory, sock)
    except OSError as error:
        sock.close()
        raise _problem(url, "listen on", error) from error
    except BaseException:
        sock.close()
        raise
    return ServerListener(server, ChannelUrl("vsock", f"{url.target.partition(':')[0]}:{port}"))


def _address(url: ChannelUrl) -> tuple[int, int]:
    cid, colon, port = url.target.partition(":")
    number = _NAMES.get(cid, int(cid) if cid.isascii() and cid.isdigit() else -1)
    if not colon or not 0 <= number <= ANY or not (port.isascii() and port.isdigit()) or int(port) >= ANY:
        raise UrlError(f"{url} must be vsock:CID:PORT with CID a number, any, local or host, and PORT a number")
    return number, int(port)


def _facts(url: ChannelUrl, *, connecting: bool) -> ChannelFacts:
    return ChannelFacts(scheme="vsock", name=url.redacted(), connecting=connecting)


def _new_socket(url: ChannelUrl) -> socket.socket:
    try:
        return socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise _problem(url, "use", error) from error


def _problem(url: ChannelUrl, action: str, error: OSError) -> ChannelError:
    start = f"cannot {action} {url.redacted()}"
    match error.errno:
        case errno.EAFNOSUPPORT:
            text = "this kernel has no vsock; modprobe vsock (in a guest: vmw_vsock_virtio_transport)"
        case errno.ENODEV:
            text = "no vsock device; give the guest a vhost-vsock-pci device, and modprobe vhost_vsock on the host"
        case errno.ECONNRESET | errno.ECONNREFUSED:
            text = "nobody listens on that port; start the server, or check the port"
        case errno.ETIMEDOUT | errno.EHOSTUNREACH | errno.ENETUNREACH:
            text = "no machine with that cid answers; check the guest's guest-cid"
        case errno.EADDRINUSE:
            return ChannelBusy(f"{start}: another program listens on that port; choose another one")
        case errno.EADDRNOTAVAIL:
            text = "this machine does not have that cid; listen on any"
        case errno.EACCES | errno.EPERM:
            text = "no permission (ports below 1024 need root); choose a higher port"
        case _:
            text = reason(error)
    return ChannelUnavailable(f"{start}: {text}")
