"""One process of a guest, with its streams."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from virtagent.api.processes import Processes, ProcessExited, ProcessOutput, ProcessStarted
from virtagent.errors import FailedPrecondition, NotFound, ResourceExhausted, UsageError, VirtagentError
from virtagent.service.streams import TypedStream

__all__ = ["BUFFER", "GuestProcess", "ProcessReader", "ProcessWriter"]

BUFFER = 1024 * 1024
"""Bytes of each of stdout and stderr that wait here for their reader; beyond that, the process waits."""


class ProcessWriter(AsyncIterator[bytes]):
    """The stdin of a process."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[bytes, asyncio.Future[None]]] = deque()
        self._more = asyncio.Event()
        self._closed = False
        self._broken = False

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; waits while the process does not read.

        Raises:
            BrokenPipeError: the process has ended, or has closed its stdin.
            UsageError: it was closed here.

        Cancellation does not take back what was given.
        """
        if self._broken:
            raise BrokenPipeError("the process does not read its stdin any more")
        if self._closed:
            raise UsageError("stdin was closed; write before that")
        taken = asyncio.get_running_loop().create_future()
        self._waiting.append((bytes(data), taken))
        self._more.set()
        await taken

    def close(self) -> None:
        """End it: the process reads what was written, then its end."""
        self._closed = True
        self._more.set()

    async def __anext__(self) -> bytes:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._more.clear()
            await self._more.wait()
        data, taken = self._waiting.popleft()
        if not taken.done():
            taken.set_result(None)
        return data

    async def aclose(self) -> None:
        """Called when the guest takes no more."""
        self._broken = True
        for _, taken in self._waiting:
            if not taken.done():
                taken.set_exception(BrokenPipeError("the process does not read its stdin any more"))
        self._waiting.clear()


class ProcessReader(AsyncIterator[bytes]):
    """The stdout or the stderr of a process: ``async for`` gives chunks of bytes as they come."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._over = False
        self._error: BaseException | None = None
        self._data = asyncio.Event()
        self._room = asyncio.Event()
        self.taken = False

    async def __anext__(self) -> bytes:
        chunk = await self.read()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def read(self, size: int = BUFFER) -> bytes:
        """At most ``size`` bytes, as they come; ``b""`` at the end.

        Raises:
            SessionLost, StreamReset, CallError: the process was lost; what had come before was given.
        """
        self.taken = True
        while not self._chunks:
            if self._over:
                if self._error is not None:
                    raise self._error
                return b""
            self._data.clear()
            self._room.set()
            await self._data.wait()
        chunk = self._chunks.popleft()
        if len(chunk) > size:
            self._chunks.appendleft(chunk[size:])
            chunk = chunk[:size]
        self._size -= len(chunk)
        if self._size < BUFFER:
            self._room.set()
        return chunk

    async def read_all(self, limit: int | None = 64 * 1024 * 1024) -> bytes:
        """All bytes until the end.

        Raises:
            ResourceExhausted: there are more than ``limit``; None: any number.
        """
        chunks, total = [], 0
        async for chunk in self:
            total += len(chunk)
            if limit is not None and total > limit:
                raise ResourceExhausted(f"the process wrote more than {limit} bytes; read them piece by piece")
            chunks.append(chunk)
        return b"".join(chunks)

    @property
    def full(self) -> bool:
        """Nothing more is taken from the process before somebody reads."""
        return self._size >= BUFFER

    def feed(self, data: bytes) -> None:
        """Add bytes that came."""
        self._chunks.append(data)
        self._size += len(data)
        self._data.set()

    async def wait_for_room(self) -> None:
        """Wait until somebody has read."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    def end(self, error: BaseException | None) -> None:
        """Nothing more will come."""
        self._over, self._error = True, error
        self._data.set()


class GuestProcess:
    """A process of the guest. ``async with`` it: leaving the block ends the process if it still runs.

    ::

        async with guest.processes.run(["sort"], stdin=True) as proc:
            await proc.stdin.write(b"b\\na\\n")
            proc.stdin.close()
            async for chunk in proc.stdout:
                print(chunk)
            code = await proc.wait()

    Args:
        begin: makes the call.
        processes: the stub, for signals.
        stdin: what the process reads, or None.

    Attributes:
        stdin: write to it where it was asked for (``stdin=True``).
        stdout, stderr: read from them; with a terminal or merged, all is in ``stdout``.
        started: its pid and program, once the block was entered.
        exited: how it ended, once it has.
    """

    def __init__(
        self,
        begin: Callable[[], Awaitable[AsyncIterator[ProcessOutput]]],
        processes: Processes,
        stdin: ProcessWriter | None,
    ) -> None:
        self._begin = begin
        self._processes = processes
        self._stdin = stdin
        self.stdout = ProcessReader()
        self.stderr = ProcessReader()
        self.started: ProcessStarted | None = None
        self.exited: ProcessExited | None = None
        self._stream: TypedStream[ProcessOutput] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._stalled: ProcessReader | None = None
        self._error: BaseException | None = None

    @property
    def stdin(self) -> ProcessWriter:
        """The stdin of the process.

        Raises:
            UsageError: it was not asked for.
        """
        if self._stdin is None:
            raise UsageError("the process was given no stdin to write to; run it with stdin=True")
        return self._stdin

    @property
    def pid(self) -> int:
        """Its process id in the guest; that of its process group, too."""
        return self._start().pid

    @property
    def returncode(self) -> int | None:
        """The exit status; minus the signal's number where one ended it; None: it has not ended."""
        return None if self.exited is None else self.exited.returncode

    def _start(self) -> ProcessStarted:
        if self.started is None:
            raise UsageError("the process has not been started: use 'async with guest.processes.run(...) as proc'")
        return self.started

    async def __aenter__(self) -> GuestProcess:
        """Start it.

        Raises:
            NotFound, PermissionDenied, ...: see :meth:`virtagent.api.processes.Processes.run`.
        """
        self._stream = TypedStream.of(await self._begin())
        try:
            first = await anext(self._stream)
            if first.started is None:
                raise FailedPrecondition("the guest did not tell of the process's start; its agent is another version")
        except BaseException:
            await self._stream.aclose()
            raise
        self.started = first.started
        self._reading = asyncio.create_task(self._read(self._stream), name=f"process {self.pid}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._reading is not None
        assert self._stream is not None
        self._reading.cancel()
        try:
            await asyncio.wait({self._reading})
        finally:
            await self._stream.aclose()
            if self._stdin is not None:
                self._stdin.close()

    async def _read(self, stream: TypedStream[ProcessOutput]) -> None:
        error: BaseException | None = None
        try:
            async for piece in stream:
                for data, reader in ((piece.stdout, self.stdout), (piece.stderr, self.stderr)):
                    if data:
                        await self._give(reader, data)
                if piece.exited is not None:
                    self.exited = piece.exited
        except VirtagentError as caught:
            error = caught
        except asyncio.CancelledError:
            error = UsageError("the 'async with' block of the process was left")
            raise
        finally:
            if self.exited is None:
                self._error = error or FailedPrecondition("the guest did not tell how the process ended")
            self.stdout.end(self._error)
            self.stderr.end(self._error)
            self._ended.set()

    async def _give(self, reader: ProcessReader, data: bytes) -> None:
        reader.feed(data)
        if reader.full:
            if not reader.taken:
                self._stalled = reader
                self._ended.set()
            await reader.wait_for_room()
            self._stalled = None

    async def wait(self) -> int:
        """Wait until it has ended; its :attr:`returncode`. What it wrote can be read after that, up to 1 MiB each.

        Raises:
            ResourceExhausted: it wrote more than that, nobody reads, and so it would never end.
            SessionLost, StreamReset, CallError: the process was lost, and has been ended.

        Cancellation leaves the process alone.
        """
        self._start()
        while self.exited is None:
            await self._ended.wait()
            if self._error is not None:
                raise self._error
            if self._stalled is not None and not self._stalled.taken:
                name = "stdout" if self._stalled is self.stdout else "stderr"
                raise ResourceExhausted(
                    f"the process waits: it wrote more than {BUFFER} bytes to {name}, which nobody reads;"
                    f" read proc.{name}, or run it with {name}='discard'"
                )
            if self.exited is None:
                self._ended.clear()
        return self.exited.returncode

    async def signal(self, signal: str = "SIGTERM") -> None:
        """Send a signal to its process group; one that has ended is left alone.

        Raises:
            InvalidArgument: there is no such signal.
        """
        start = self._start()
        if self.exited is None:
            with suppress(NotFound):
                await self._processes.signal(start.pid, signal, group=True, start_ticks=start.start_ticks)

    async def resize(self, columns: int, rows: int) -> None:
        """Change the size of its terminal; one that has ended is left alone.

        Raises:
            FailedPrecondition: it has no terminal.
        """
        if self.exited is None:
            with suppress(NotFound):
                await self._processes.resize(self._start().pid, columns, rows)


def source_of(stdin: bool | bytes | AsyncIterable[bytes] | None) -> tuple[ProcessWriter | None, Any]:
    """What ``stdin=`` means: the writer that a program uses, and the source that goes to the guest."""
    if stdin is None or stdin is False:
        return None, None
    if stdin is True:
        writer = ProcessWriter()
        return writer, writer
    if isinstance(stdin, (bytes, bytearray, memoryview)):
        return None, _once(bytes(stdin))
    return None, stdin


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
