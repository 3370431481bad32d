"""Who a peer is, as the kernel or TLS tells it: nothing here is what the peer says of itself."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from virtagent.peer.peer import Peer

__all__ = ["PeerIdentity", "identity_of", "user_name"]

HOST_CID = 2
"""VMADDR_CID_HOST (vsock(7))."""


class PeerIdentity(NamedTuple):
    """Who is at the other end of a channel.

    Attributes:
        channel: the channel's URL without its options.
        scheme: which kind of channel.
        uid, gid, pid: of the process at the other end of a Unix socket, when it connected; None elsewhere.
        certificate: the name in the peer's verified certificate; None without one.
        cid: the context id of a vsock peer.
    """

    channel: str
    scheme: str
    uid: int | None = None
    gid: int | None = None
    pid: int | None = None
    certificate: str | None = None
    cid: int | None = None

    def __str__(self) -> str:
        """For people: ``user backup (uid 1000) at unix:/run/virtagent.sock``."""
        if self.uid is not None:
            name = user_name(self.uid)
            return f"{f'user {name} (uid {self.uid})' if name else f'uid {self.uid}'} at {self.channel}"
        if self.certificate is not None:
            return f"certificate {self.certificate!r} at {self.channel}"
        if self.cid is not None:
            return f"{'the host' if self.cid == HOST_CID else f'cid {self.cid}'} at {self.channel}"
        return f"the peer at {self.channel}"


def identity_of(peer: Peer) -> PeerIdentity | None:
    """Who a peer is; None if it has no channel at the moment, or that cannot tell any more."""
    channel = peer.channel
    if channel is None or channel.transport is None:
        return None
    scheme = str(channel.facts.scheme)
    url = peer.name if scheme == "exec" else peer.name.partition("?")[0]
    try:
        if scheme == "unix":
            from virtagent_transports.credentials import peer_credentials  # noqa: PLC0415 - per kind of channel

            found = peer_credentials(channel.transport)
            if found is None:
                return None
            return PeerIdentity(url, scheme, uid=found.uid, gid=found.gid, pid=found.pid)
        if scheme == "tls":
            from virtagent_transports.tls import peer_certificate_name  # noqa: PLC0415

            return PeerIdentity(url, scheme, certificate=peer_certificate_name(channel.transport))
        if scheme == "vsock":
            from virtagent_transports.sockets import borrowed  # noqa: PLC0415

            with borrowed(channel.transport) as sock:
                return None if sock is None else PeerIdentity(url, scheme, cid=int(sock.getpeername()[0]))
    except OSError:
        return None  # the peer has left
    return PeerIdentity(url, scheme)


@lru_cache(maxsize=256)
def user_name(uid: int, file: str = "/etc/passwd") -> str:
    """The name of a user in a file such as /etc/passwd; "" without one.

    The name service is not asked: it may wait for a network, and this runs in the event loop.
    """
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:
            text = opened.read(1024 * 1024)
    except OSError:
        return "root" if uid == 0 else ""
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2] == str(uid):
            return fields[0]
    return ""
