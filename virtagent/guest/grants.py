"""What each peer may do, and what it has under way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

from virtagent.errors import ResourceExhausted

if TYPE_CHECKING:
    from virtagent.peer.context import Context
    from virtagent.peer.peer import Peer

__all__ = ["CHANGES_NOTHING", "FULL", "NOTHING", "ROLES", "Access", "Grant", "Grants", "OpenCall"]

ROLES = ("observe", "files-read", "files-write", "exec", "power", "admin")
"""What a policy grants; "admin" includes all others, and each other one includes "observe"."""

CHANGES_NOTHING = ("observe", "files-read")
"""The roles of methods that leave the machine as it is; calls of all others are audited."""


class Grant(NamedTuple):
    """What one peer may do.

    Attributes:
        who: the peer, for people.
        rule: where this comes from, for people.
        roles: see :data:`ROLES`.
        allow: patterns of method names (fnmatch) that it may call whatever its roles.
        deny: patterns that it may not call whatever its roles; they go before ``allow``.
        read_only: nothing that changes the machine may be called.
        read_roots, write_roots: the directories below which files may be read, and written.
        commands: the absolute paths of programs that may be run; None: all.
        calls, processes, watches: how many at a time.
        bytes: of one stream, at most; None: any number.
    """

    who: str = ""
    roles: frozenset[str] = frozenset(ROLES)
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    read_only: bool = False
    read_roots: tuple[str, ...] = ("/",)
    write_roots: tuple[str, ...] = ("/",)
    commands: tuple[str, ...] | None = None
    calls: int = 1024
    processes: int = 256
    watches: int = 256
    bytes: int | None = None
    rule: str = ""


FULL = Grant()
"""Everything: the hypervisor owns the machine anyway."""

NOTHING = Grant(
    who="a peer that is not known",
    roles=frozenset(),
    read_only=True,
    read_roots=(),
    write_roots=(),
    commands=(),
    calls=0,
    processes=0,
    watches=0,
    bytes=0,
    rule="a peer of which the kernel told nothing has no rights",
)
"""What a peer may do before it is known who it is."""


class OpenCall:
    """A call that a peer has under way; with a stream as its answer, until that ends.

    Attributes:
        method: its name.
        since: when it began, on the monotonic clock.
        streams: it is answered with a stream, which has begun.
        received, sent: bytes of its streams so far, where they are counted.
        params: the arguments as they came, where they will be audited; else None.
    """

    __slots__ = ("access", "method", "params", "received", "sent", "since", "streams")

    def __init__(self, access: Access, method: str, params: Any = None) -> None:
        self.access = access
        self.method = method
        self.params = params
        self.since = time.monotonic()
        self.streams = False
        self.received = self.sent = 0


class Access:
    """One peer: its grant, and what it has under way.

    Attributes:
        grant: what it may do.
        permitted: the methods of which that is known already.
        calls: the calls that it has under way. (A set: adding and discarding are safe in any thread.)
        held: how many of each other limited thing it has, such as "processes".
        denied: how many calls were refused.
    """

    __slots__ = ("calls", "denied", "grant", "held", "identity", "peer", "permitted")

    def __init__(self, peer: ref[Peer] | None, grant: Grant, identity: Any = None) -> None:
        self.peer = peer
        self.grant = grant
        self.identity = identity
        self.permitted: set[str] = set()
        self.calls: set[OpenCall] = set()
        self.held: dict[str, int] = {}
        self.denied = 0

    @property
    def announced(self) -> str:
        """The name that the peer gave itself; not to be trusted."""
        peer = self.peer() if self.peer is not None else None
        return peer.info.identity.name if peer is not None and peer.info is not None else ""


class Grants:
    """The grants of the peers that are there. A grant is decided once, at the latest before a peer's first call.

    Args:
        decide: finds out what a peer may do, and who it is; None as its result: that cannot be told (yet), and the
            peer may do nothing. Without it, everybody may do everything: for services outside of the daemon.
    """

    def __init__(self, decide: Callable[[Peer], tuple[Grant, Any] | None] | None = None) -> None:
        self._decide = decide
        self._peers: dict[int, Access] = {}
        self.find = self._peers.get

    def __iter__(self) -> Iterator[Access]:
        return iter(list(self._peers.values()))

    def of(self, context: Context | None) -> Grant:
        """The grant of whoever calls; None is the agent itself, which may do all."""
        return FULL if context is None else self.access(context.peer).grant

    def access(self, peer: Peer) -> Access:
        """The grant of a peer, and what it has under way."""
        key = id(peer)
        found = self._peers.get(key)
        if found is not None:
            return found
        decided = (FULL, None) if self._decide is None else self._decide(peer)
        if decided is None:
            return Access(None, NOTHING)
        # The key is free again when the peer is no more, so no other one can be taken for it.
        access = Access(ref(peer, lambda _: self._peers.pop(key, None)), *decided)
        return self._peers.setdefault(key, access)

    @contextmanager
    def hold(self, context: Context | None, what: str, most: int) -> Iterator[None]:
        """Within the block the caller has one more of something; to be used in the event loop.

        Args:
            what: such as "processes".
            most: how many it may have: ``grant.processes``.

        Raises:
            ResourceExhausted: it has as many already.
        """
        if context is None:
            yield
            return
        held = self.access(context.peer).held
        if held.get(what, 0) >= most:
            raise ResourceExhausted(f"you have {most} {what} already, which is all that this agent's policy lets you")
        held[what] = held.get(what, 0) + 1
        try:
            yield
        finally:
            held[what] -= 1
