"""Watches and followed files that are open: how many each peer may have, and their end when the agent goes."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from virtagent.errors import CallError, ResourceExhausted, Unavailable
from virtagent.guest.slices import Visits

if TYPE_CHECKING:
    from virtagent.peer.context import Context
    from virtagent.peer.peer import Peer

__all__ = ["WatchStream", "Watches", "first_of"]

T = TypeVar("T")


class WatchStream(AsyncIterator[T], Generic[T]):
    """The source of a stream that goes on until its reader ends it, or the agent goes.

    Args:
        executor: where it may block.

    Attributes:
        closed: it has ended, and holds nothing any more.
    """

    def __init__(self, executor: Executor) -> None:
        self._visits = Visits(executor)
        self._items: deque[T] = deque()
        self._stopped: asyncio.Event | None = None
        self._error: CallError | None = None
        self._ended = False
        self.closed = False

    @abstractmethod
    async def _take(self, stopped: asyncio.Event) -> None:
        """Wait for items, or until stopped."""

    @abstractmethod
    def _drop(self) -> None:
        """Close what is open; may be called twice, and blocks."""

    async def __anext__(self) -> T:
        """The next item.

        Raises:
            CallError: it cannot go on, or the agent goes.
        """
        if self._stopped is None:
            self._stopped = asyncio.Event()
            if self._error is not None:
                self._stopped.set()
        while not self._items:
            if self._error is not None:
                error, self._error = self._error, None
                await self.aclose()
                raise error
            if self._ended or self.closed:
                raise StopAsyncIteration
            await self._take(self._stopped)
        return self._items.popleft()

    def stop(self, error: CallError) -> None:
        """End it with an error; from the event loop, or before anything was read."""
        self._error = error
        self._items.clear()
        if self._stopped is not None:
            self._stopped.set()

    async def aclose(self) -> None:
        """End it."""
        if not self.closed:
            self.closed = True
            await self._visits.close(self._drop)


Source = TypeVar("Source", bound="WatchStream[Any]")


class Watches:
    """Those of all peers."""

    def __init__(self) -> None:
        self._open: WeakSet[WatchStream[Any]] = WeakSet()
        self._of_peers: WeakKeyDictionary[Peer, WeakSet[WatchStream[Any]]] = WeakKeyDictionary()

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


async def first_of(*waits: asyncio.Future[Any], timeout: float | None) -> bool:
    """Wait until one of several is done, cancel the others; False: none was in time."""
    try:
        done, _ = await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
