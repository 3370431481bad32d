"""What each peer may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from virtagent.peer.context import Context
    from virtagent.peer.peer import Peer

__all__ = ["FULL", "ROLES", "Grant", "Grants"]

ROLES = ("observe", "files-read", "files-write", "exec", "power", "admin")
"""What a policy grants; "admin" includes all others, and each other one includes "observe"."""


class Grant(NamedTuple):
    """What one peer may do.

    Attributes:
        who: the peer, for the audit log.
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


FULL = Grant()
"""Everything: the hypervisor owns the machine anyway."""


class Grants:
    """The grants of the peers that are there."""

    def __init__(self) -> None:
        self._grants: WeakKeyDictionary[Peer, Grant] = WeakKeyDictionary()

    def of(self, context: Context | None) -> Grant:
        """The grant of whoever calls; None is the agent itself, which may do all."""
        return FULL if context is None else self._grants.get(context.peer, FULL)
