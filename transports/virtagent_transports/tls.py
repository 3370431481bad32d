"""``tls:host:port``: TCP under TLS 1.3, with certificates on both sides.

Options: ``ca``, ``cert``, ``key`` (PEM files; ``key`` may be in ``cert``'s file), ``name`` (the name that the
server's certificate must bear, default the host), ``verify=name`` or ``verify=chain`` (any certificate of that CA:
for machines without stable names), ``client=required`` or ``client=none`` (to listen: whether clients need a
certificate).
"""

from __future__ import annotations

import asyncio
import functools
import os
import ssl
from typing import Any

from virtagent.errors import ChannelUnavailable, UrlError

from .facts import ProtocolFactory
from .listener import Listener, ServerListener
from .sockets import Connected, borrowed, keep_alive, paired
from .tcp import actual_url, bound_socket, connect_error, facts, listen_error
from .url import ChannelUrl

__all__ = ["OPTIONS", "check", "connect", "explain", "listen", "peer_certificate_name"]

OPTIONS = frozenset({"ca", "cert", "client", "key", "name", "verify"})

HANDSHAKE_TIMEOUT = 10.0
SHUTDOWN_TIMEOUT = 5.0
"""Seconds. asyncio's own (60 and 30) let a silent peer hold a connection for very long."""


def check(url: ChannelUrl) -> None:
    """Refuse a malformed address or option; the files are looked at when they are used."""
    url.host_port(empty_host=True)
    url.choice("verify", "name", ("chain", "name"))
    url.choice("client", "required", ("none", "required"))
    if "key" in url.options and "cert" not in url.options:
        raise UrlError(f"{url} has a key but no certificate: add cert=FILE")


async def connect(url: ChannelUrl, protocol_factory: ProtocolFactory) -> Connected:
    """Connect; see :func:`virtagent_transports.connect`. Without ``ca`` the system's authorities count.

    In TLS 1.3 a server judges the client's certificate after the client's handshake is done: its refusal comes as
    the error of ``connection_lost``, for which :func:`explain` has the words.
    """
    host, port = url.host_port()
    context = client_context(url)
    protocol = protocol_factory(facts(url, connecting=True))
    try:
        made = await asyncio.get_running_loop().create_connection(
            lambda: protocol,
            host,
            port,
            ssl=context,
            server_hostname=url.options.get("name", host),
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
            ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
        )
    except (ssl.SSLError, ConnectionAbortedError, ConnectionResetError) as error:
        raise ChannelUnavailable(f"cannot connect to {url.redacted()}: {explain(error)}") from error
    except OSError as error:
        raise connect_error(url, error) from error
    with borrowed(made[0]) as sock:
        if sock is not None:
            keep_alive(sock)
    return paired(made)


async def listen(url: ChannelUrl, protocol_factory: ProtocolFactory) -> Listener:
    """Listen; a client without a certificate of ``ca`` never reaches a protocol, unless ``client=none``."""
    context = server_context(url)
    factory = functools.partial(protocol_factory, facts(url, connecting=False))
    try:
        sock = await bound_socket(*url.host_port(empty_host=True))
    except OSError as error:
        raise listen_error(url, error) from error
    actual = actual_url(url, sock)
    try:
        server = await asyncio.get_running_loop().create_server(
            factory,
            sock=sock,
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
            ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
        )
    except BaseException:
        sock.close()
        raise
    return ServerListener(server, actual)


def peer_certificate_name(transport: asyncio.BaseTransport) -> str | None:
    """The common name of the peer's verified certificate, else its first DNS or URI name; None without one."""
    channel = transport.get_extra_info("ssl_object")
    certificate: dict[str, Any] = (channel.getpeercert() if channel is not None else None) or {}
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    for kind, value in certificate.get("subjectAltName", ()):
        if kind in ("DNS", "URI"):
            return str(value)
    return None


def client_context(url: ChannelUrl) -> ssl.SSLContext:
    """The client's settings: the server's certificate is always verified.

    Raises:
        UrlError: a file is missing or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = url.options.get("verify", "name") == "name"
    if "ca" in url.options:
        _load_ca(context, url)
    else:
        context.load_default_certs()
    if "cert" in url.options:
        _load_own(context, url)
    return context


def server_context(url: ChannelUrl) -> ssl.SSLContext:
    """The listener's settings: a client's certificate is required unless ``client=none``.

    Raises:
        UrlError: a file is missing or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if "cert" not in url.options:
        raise UrlError(f"to listen on {url} needs this machine's certificate: add cert=FILE and key=FILE")
    _load_own(context, url)
    if url.options.get("client", "required") == "required":
        if "ca" not in url.options:
            raise UrlError(f"to listen on {url} needs the clients' authority: add ca=FILE, or client=none for anyone")
        _load_ca(context, url)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


_BAD_PEER = {
    "expired": "the peer's certificate has expired; renew it there, and check both clocks",
    "not yet valid": "the peer's certificate is not valid yet; check both clocks",
    "match": "{problem}; set name= to the name in the peer's certificate, or verify=chain",
    "": "the peer's certificate is not from the authority in ca= ({problem}); check ca= here and cert= there",
}
_REFUSED = {
    "certificate required": "the peer requires a certificate of ours; add cert=FILE and key=FILE",
    "certificate": "the peer refused our certificate ({problem}); check cert= here and ca= there",
    "unknown ca": "the peer refused our certificate ({problem}); check cert= here and ca= there",
    "version": "no common TLS version ({problem}); this side needs TLS 1.3",
    "": "TLS failed ({problem}); check that the peer speaks TLS on that port",
}


def explain(error: BaseException) -> str:
    """One line for a TLS error: which side did not like what, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        table, problem = _BAD_PEER, error.verify_message or str(error)
    elif isinstance(error, ssl.SSLError):
        table, problem = _REFUSED, (error.reason or str(error)).lower().replace("_", " ")
    else:
        return "the peer ended the connection during the TLS handshake; check its log, and that it speaks TLS there"
    return next(text for words, text in table.items() if words in problem).format(problem=problem)


def _readable(url: ChannelUrl, option: str) -> str:
    path = url.options[option]
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise UrlError(f"{option}={path} cannot be read: {error.strerror}; check the path and its mode") from error
    return path


def _load_ca(context: ssl.SSLContext, url: ChannelUrl) -> None:
    path = _readable(url, "ca")
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise UrlError(f"ca={path} is not a PEM file with certificates") from error


def _load_own(context: ssl.SSLContext, url: ChannelUrl) -> None:
    cert = _readable(url, "cert")
    key = _readable(url, "key") if "key" in url.options else cert

    def no_passphrase() -> str:
        raise UrlError(f"key={key} is encrypted; a service cannot ask for a passphrase: decrypt it (openssl pkey)")

    try:
        context.load_cert_chain(cert, key, password=no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise UrlError(f"key={key} does not belong to cert={cert}; give the key of that certificate") from error
        raise UrlError(f"cert={cert} and key={key} must be PEM files with a certificate and its key") from error
