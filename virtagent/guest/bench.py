"""The service ``bench``: the callee's half of ``virtagent bench``, for the agent and for any other listener."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from weakref import WeakSet

from virtagent.api.bench import (
    LONGEST_STREAM,
    MOST_STREAMED,
    Bench,
    ChunkSize,
    Echo,
    Environment,
    Payload,
    Received,
    StreamSize,
    Usage,
)
from virtagent.errors import DeadlineExceeded, ResourceExhausted
from virtagent.guest.cost import resident_memory
from virtagent.guest.resources import GuestService, Resources
from virtagent.service.options import method

__all__ = ["BenchService"]

MOST_STREAMS = 16
"""Sources and sinks open at a time, of all clients together: a measurement needs two."""


class BenchService(GuestService, Bench):
    """Echoes, streams from and to nowhere, and tells what the process costs. It touches no file but /proc's.

    ::

        virtagent.listen("unix:/run/backup.sock", services=[Backup(), BenchService()])
    """

    def __init__(self, resources: Resources | None = None) -> None:
        super().__init__(resources)
        self._turn = 0
        self._sources: WeakSet[Source] = WeakSet()
        self._sinks = 0

    @method(inline=True)
    async def echo(self, data: Payload = b"") -> Echo:
        started = time.monotonic_ns()
        if not self._turn:
            # Requests that were read together are served one after the other in one turn of the loop.
            self._turn = started
            asyncio.get_running_loop().call_soon(self._end_turn)
        return Echo(data=data, received=self._turn, started=started, finished=time.monotonic_ns())

    def _end_turn(self) -> None:
        self._turn = 0

    @method(inline=True)
    def source(self, *, total: StreamSize = MOST_STREAMED, chunk: ChunkSize = 256 * 1024) -> AsyncIterator[bytes]:
        self._check_room()
        source = Source(total, chunk)
        self._sources.add(source)
        return source

    async def sink(self, data: AsyncIterator[bytes]) -> Received:
        self._check_room()
        with self._one_more_sink():
            try:
                async with asyncio.timeout(LONGEST_STREAM):
                    return await drain(data)
            except TimeoutError:
                raise too_long() from None

    @contextmanager
    def _one_more_sink(self) -> Iterator[None]:
        self._sinks += 1
        try:
            yield
        finally:
            self._sinks -= 1

    def _check_room(self) -> None:
        if len(self._sources) + self._sinks >= MOST_STREAMS:
            raise ResourceExhausted(f"{MOST_STREAMS} streams of measurements are open already; let one of them end")

    @method(inline=True)
    async def usage(self) -> Usage:
        return Usage(cpu=time.process_time(), rss=resident_memory(), clock=time.monotonic_ns())

    async def environment(self) -> Environment:
        # Only now: platform and sysconfig are nothing that an idle agent should carry.
        from virtagent.guest.environment import environment_here  # noqa: PLC0415

        return environment_here()


class Source(AsyncIterator[bytes]):
    """The same chunk again and again: nothing is produced, so nothing but the way is measured."""

    def __init__(self, total: int, chunk: int) -> None:
        self._left = total
        self._chunk = bytes(min(chunk, total))
        self._end = time.monotonic() + LONGEST_STREAM

    async def __anext__(self) -> bytes:
        """The next chunk.

        Raises:
            DeadlineExceeded: the stream is open for too long.
        """
        if not self._left:
            raise StopAsyncIteration
        if time.monotonic() > self._end:
            raise too_long()
        chunk = self._chunk if self._left >= len(self._chunk) else self._chunk[: self._left]
        self._left -= len(chunk)
        return chunk


async def drain(data: AsyncIterator[bytes]) -> Received:
    """Read a stream to its end.

    Raises:
        ResourceExhausted: it holds more than it may.
    """
    total = chunks = first = last = 0
    async for chunk in data:
        last = time.monotonic_ns()
        first = first or last
        total += len(chunk)
        chunks += 1
        if total > MOST_STREAMED:
            raise ResourceExhausted(f"a measurement streams at most {MOST_STREAMED} bytes; stop earlier")
    return Received(bytes=total, chunks=chunks, first=first, last=last)


def too_long() -> DeadlineExceeded:
    """The error that ends a stream in time."""
    return DeadlineExceeded(f"a stream of a measurement lasts at most {LONGEST_STREAM:g} s; measure for less")
