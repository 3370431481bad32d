"""Who is at the other end, as told by the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio

__all__ = ["Credentials", "peer_credentials"]


class Credentials(NamedTuple):
    """The peer's process at the time when it connected (unix(7), SO_PEERCRED).

    Attributes:
        pid: its number; 0 where it lives in another pid namespace.
        uid: its effective user.
        gid: its effective group.
    """

    pid: int
    uid: int
    gid: int


def peer_credentials(transport: asyncio.BaseTransport) -> Credentials | None:
    """The credentials of the process at the other end of a Unix socket; None for every other channel.

    With TLS, :func:`virtagent_transports.tls.peer_certificate_name` tells who is there.
    """
    import socket  # noqa: PLC0415 - importing the package stays light
    import struct  # noqa: PLC0415

    from .sockets import borrowed  # noqa: PLC0415

    with borrowed(transport) as sock:
        if sock is None or sock.family != socket.AF_UNIX:
            return None
        return Credentials(*struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))
