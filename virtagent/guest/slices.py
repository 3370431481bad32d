"""Long blocking work in short visits to threads: between two of them it can be cancelled, and others get a turn."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import Executor
from typing import Any, Generic, TypeVar

__all__ = ["SlicedWork", "Visits", "finish"]

T = TypeVar("T")

SLICE = 0.02
"""Seconds after which a visit ends with what it has."""


class Visits:
    """Visits to threads, one at a time.

    Args:
        executor: whose threads.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._last: asyncio.Future[Any] | None = None

    def begin(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Start a visit; the one before has ended."""
        visit = asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        self._last = visit
        return visit

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Make a visit. Cancellation leaves the thread running to its end, which :meth:`settle` awaits."""
        return await asyncio.shield(self.begin(function, *arguments))

    async def settle(self) -> None:
        """Wait until no thread is at work; what it raised is its owner's."""
        if self._last is not None and not self._last.done():
            await asyncio.wait([self._last])
        if self._last is not None and not self._last.cancelled():
            self._last.exception()

    async def close(self, cleanup: Callable[[], object]) -> None:
        """Clean up in a thread, when no other is at work. A cancellation meanwhile lets the cleanup go on."""

        async def closing() -> None:
            await self.settle()
            await self.run(cleanup)

        await asyncio.shield(asyncio.ensure_future(closing()))


class SlicedWork(AsyncIterator[T], Generic[T]):
    """What a blocking generator yields, some of it at each visit to a thread.

    The generator is closed in a thread, too: at its end, in ``aclose``, or when this object is dropped.

    Args:
        source: the generator.
        executor: whose threads.
        most: how many items one visit takes.
    """

    def __init__(self, source: Generator[T, None, None], executor: Executor, *, most: int = 512) -> None:
        self._source: Generator[T, None, None] | None = source
        self._executor = executor
        self._visits = Visits(executor)
        self._most = most
        self._items: deque[T] = deque()
        self._error: Exception | None = None
        self._ended = False

    async def __anext__(self) -> T:
        """The next item.

        Raises:
            CallError: what the generator raised, after all that it gave before.
        """
        while not self._items:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if self._ended or self._source is None:
                raise StopAsyncIteration
            self._items.extend(await self._visits.run(self._slice, self._source))
        return self._items.popleft()

    def begin(self) -> None:
        """Make the first visit in this very thread, which may block.

        Raises:
            CallError: what the generator raised before it gave anything.
        """
        if self._source is not None:
            self._items.extend(self._slice(self._source))
        if self._error is not None and not self._items:
            raise self._error

    def _slice(self, source: Generator[T, None, None]) -> list[T]:
        found: list[T] = []
        until = time.monotonic() + SLICE
        try:
            for item in source:
                found.append(item)
                if len(found) >= self._most or time.monotonic() >= until:
                    return found
        except Exception as error:
            self._error = error
        self._ended = True
        return found

    async def aclose(self) -> None:
        """Stop the work and close the generator."""
        source, self._source = self._source, None
        self._items.clear()
        if source is not None:
            await self._visits.close(source.close)

    def __del__(self) -> None:
        if self._source is not None and inspect.getgeneratorstate(self._source) != inspect.GEN_RUNNING:
            self._source.close()


async def finish(work: SlicedWork[T]) -> list[T]:
    """Do all of the work; what it yielded, which should be little. Cancellation stops and closes it."""
    try:
        return [each async for each in work]
    finally:
        await work.aclose()
