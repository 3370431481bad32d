"""Watches and followed files that are open: how many each peer may have, and their end when the agent goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from virtagent.errors import CallError, ResourceExhausted, Unavailable

if TYPE_CHECKING:
    from virtagent.peer.context import Context
    from virtagent.peer.peer import Peer

__all__ = ["Stoppable", "Watches"]


class Stoppable(Protocol):
    """A source of a stream that can be ended with an error; ``closed`` once its stream has ended."""

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        ...

    def stop(self, error: CallError) -> None:
        """End it: whoever reads gets the error."""

    async def aclose(self) -> None:
        """End it."""


Source = TypeVar("Source", bound=Stoppable)


class Watches:
    """Those of all peers."""

    def __init__(self) -> None:
        self._open: WeakSet[Stoppable] = WeakSet()
        self._of_peers: WeakKeyDictionary[Peer, WeakSet[Stoppable]] = WeakKeyDictionary()

    def add(self, source: Source, ctx: Context | None, most: int) -> Source:
        """Remember a watch as long as it is open.

        Args:
            source: the watch.
            ctx: the call that asked for it.
            most: how many its peer may have.

        Raises:
            ResourceExhausted: the peer has that many; this one is ended.
        """
        if ctx is not None:
            own = self._of_peers.setdefault(ctx.peer, WeakSet())
            if sum(not each.closed for each in own) >= most:
                error = ResourceExhausted(f"{most} files are watched or followed already; end one, or ask for more")
                source.stop(error)
                raise error
            own.add(source)
        self._open.add(source)
        return source

    def stop(self, message: str) -> None:
        """The agent goes: end them, with ``Unavailable``."""
        for each in list(self._open):
            each.stop(Unavailable(message))
