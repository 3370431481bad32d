"""The bytes of a file as an async iterator: what is in memory at once, the rest in threads, ahead of who takes it."""

from __future__ import annotations

import asyncio
import os
import stat
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from typing import TypeAlias

from virtagent.errors import FailedPrecondition
from virtagent.guest.file_roots import EVERYWHERE, Roots
from virtagent.guest.os_errors import call_error
from virtagent.guest.page_cache import CachedReads
from virtagent.guest.readable import wait_readable

__all__ = ["FileReader", "open_for_reading"]

Batch: TypeAlias = "tuple[list[bytes], bool, bool]"
"""Chunks, whether the end was reached, and whether more must be waited for."""

BATCH = 256 * 1024
"""Bytes that one visit to a thread reads: enough that the visit (50 µs) costs little beside the read."""


def open_for_reading(
    path: str, *, offset: int, length: int | None, chunk: int, executor: Executor, roots: Roots = EVERYWHERE
) -> FileReader:
    """Open a file. Nothing of a device or pipe is waited for. See :meth:`virtagent.api.files.Files.read`.

    Raises:
        CallError: it cannot be read.
    """
    descriptor = roots.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        found = os.fstat(descriptor)
        mode = found.st_mode
        if stat.S_ISDIR(mode):
            raise FailedPrecondition(f"{path}: is a directory; read the files in it")
        has_positions = stat.S_ISREG(mode) or stat.S_ISBLK(mode)
        if offset and not has_positions:
            raise FailedPrecondition(f"{path}: has no positions; leave the offset out")
    except BaseException:
        os.close(descriptor)
        raise
    return FileReader(
        path,
        descriptor,
        offset=offset if has_positions else None,
        length=length,
        chunk=chunk,
        executor=executor,
        # Reading ahead in holes does not wait for a disk but fills memory at once, megabytes of it.
        cached=has_positions and not (stat.S_ISREG(mode) and found.st_blocks * 512 < found.st_size),
    )


class FileReader(AsyncIterator[bytes]):
    """Chunks of an open file. It owns the descriptor, and closes it at the end, in ``aclose`` or when it is dropped.

    Args:
        path: for errors.
        offset: the position of the first byte; None: the file has no positions.
        length: the most bytes to read; None: all.
        chunk: the most bytes in one chunk.
        executor: where reads block.
        cached: take what is in memory without a thread.
    """

    def __init__(
        self,
        path: str,
        descriptor: int,
        *,
        offset: int | None,
        length: int | None,
        chunk: int,
        executor: Executor,
        cached: bool = True,
    ) -> None:
        self._path = path
        self._descriptor = descriptor
        self._offset = offset
        self._left = length
        self._chunk = chunk
        self._cached = CachedReads(descriptor, chunk) if cached else None
        self._executor = executor
        self._chunks: deque[bytes] = deque()
        self._ended = False
        self._blocked = False
        self._closed = False
        self._ahead: asyncio.Future[Batch] | None = None

    async def __anext__(self) -> bytes:
        """The next chunk.

        Raises:
            CallError: reading failed.
        """
        while not self._chunks:
            if self._ended or self._closed:
                self._close_if_idle()
                raise StopAsyncIteration
            if not self._take_cached():
                await self._take_batch()
        if len(self._chunks) == 1 and not self._ended and not self._take_cached():
            self._read_ahead()
        return self._chunks.popleft()

    def _take_cached(self) -> bool:
        """Take the next chunk without a thread, if it is in memory and no thread is reading."""
        if self._cached is None or self._offset is None or self._ahead is not None:
            return False
        size = self._next_size()
        if not size:
            self._ended = True
            return True
        data = self._cached.read(size, self._offset)
        if data is None:
            return False
        self._advance(len(data))
        self._chunks.append(data)
        return True

    def _next_size(self) -> int:
        return self._chunk if self._left is None else min(self._chunk, self._left)

    def _advance(self, count: int) -> None:
        if self._offset is not None:
            self._offset += count
        if self._left is not None:
            self._left -= count

    def _read_ahead(self) -> None:
        if self._ahead is None and not self._blocked:
            self._ahead = asyncio.get_running_loop().run_in_executor(self._executor, self._read_batch)

    async def _take_batch(self) -> None:
        if self._blocked:
            await wait_readable(self._descriptor)
            self._blocked = False
        self._read_ahead()
        ahead = self._ahead
        assert ahead is not None
        try:
            # Shielded: a thread cannot be cancelled, and the descriptor must not be closed under it.
            chunks, self._ended, self._blocked = await asyncio.shield(ahead)
            self._chunks.extend(chunks)
        except OSError as error:
            self._ended = True
            raise call_error(self._path, error) from None
        finally:
            if ahead.done():
                self._ahead = None

    def _read_batch(self) -> Batch:
        """In a thread, one at a time. While it runs nothing else touches ``_offset`` and ``_left``."""
        chunks: list[bytes] = []
        total = 0
        ended = blocked = False
        while total < BATCH:
            size = self._next_size()
            if size == 0:
                ended = True
                break
            try:
                if self._offset is None:
                    data = os.read(self._descriptor, size)
                else:
                    data = os.pread(self._descriptor, size, self._offset)
            except BlockingIOError:
                blocked = True
                break
            except OSError:
                if chunks:  # what was read goes first; the next batch meets the error again
                    break
                raise
            if not data:
                ended = True
                break
            self._advance(len(data))
            chunks.append(data)
            total += len(data)
            if self._offset is None and len(data) < size:
                break  # a pipe or a terminal: give what has come
        return chunks, ended, blocked

    async def aclose(self) -> None:
        """Close the file, at once or when the read that is under way returns."""
        self._closed = True
        self._chunks.clear()
        ahead = self._ahead
        if ahead is not None and not ahead.done():
            ahead.add_done_callback(self._abandoned)
        else:
            self._close_if_idle()

    def _abandoned(self, ahead: asyncio.Future[Batch]) -> None:
        if not ahead.cancelled():
            ahead.exception()
        self._ahead = None
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._descriptor >= 0 and (self._ahead is None or self._ahead.done()):
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self._close_if_idle()
