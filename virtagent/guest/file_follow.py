"""A file that is followed by its name, as ``tail -F`` does: through rotation, truncation and absence."""

from __future__ import annotations

import asyncio
import os
import stat
from concurrent.futures import Executor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from virtagent.api.file_types import Followed
from virtagent.errors import CallError, FailedPrecondition, NotFound
from virtagent.guest.file_roots import Roots
from virtagent.guest.os_errors import call_error
from virtagent.guest.watches import WatchStream, first_of

if TYPE_CHECKING:
    from asyncinotify import Inotify

__all__ = ["FollowedFile"]

PIECE = 64 * 1024
BATCH = 4
"""Pieces of one visit to a thread."""

LOOK_AGAIN = 1.0
"""Seconds after which is looked without a sign: network file systems give none, nor do links whose target changes."""

OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY


class FollowedFile(WatchStream[Followed]):
    """What is at a file's end, and what is added.

    Making it opens the file and blocks; a file that is not there yet is waited for.

    Args:
        roots: where may be read.
        path: the file.
        lines: begin so many lines before the end; None: at the begin.
        offset: begin at this position instead.
        executor: where reading blocks.

    Raises:
        CallError: the file cannot be followed.
    """

    def __init__(self, roots: Roots, path: str, *, lines: int | None, offset: int | None, executor: Executor) -> None:
        super().__init__(executor)
        self._roots = roots
        self._path = path
        self._descriptor = -1
        self._position = 0
        self._told_missing = False
        self._signs = Signs(roots, path)
        try:
            self._descriptor = self._open()
            size = os.fstat(self._descriptor).st_size
            if offset is not None:
                self._position = min(offset, size)
            elif lines is not None:
                self._position = _last_lines(self._descriptor, size, lines)
        except NotFound:
            pass  # the directory, if that is missing too, is waited for as well
        except BaseException:
            self._drop()
            raise

    def _open(self) -> int:
        descriptor = self._roots.open(self._path, OPEN)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FailedPrecondition(f"{self._path}: is no regular file; read it, which waits for what comes")
        return descriptor

    async def _take(self, stopped: asyncio.Event) -> None:
        self._items.extend(await self._visits.run(self._look))
        if not self._items and self._error is None:
            await self._signs.wait(stopped, LOOK_AGAIN)

    def _look(self) -> list[Followed]:
        """In a thread: what is new, at most a batch."""
        found: list[Followed] = []
        try:
            self._read(found)
            if len(found) < BATCH:
                self._look_at_name(found)
        except OSError as error:
            self._error = call_error(self._path, error)
        except CallError as error:
            self._error = error
        return found

    def _read(self, found: list[Followed]) -> None:
        if self._descriptor < 0:
            return
        if os.fstat(self._descriptor).st_size < self._position:
            self._position = 0
            found.append(Followed(kind="truncated"))
        while len(found) < BATCH and (data := os.pread(self._descriptor, PIECE, self._position)):
            found.append(Followed(data=data, offset=self._position))
            self._position += len(data)

    def _look_at_name(self, found: list[Followed]) -> None:
        """Whether the name is still that of the file which is open, all of which has been read."""
        try:
            descriptor = self._open()
        except NotFound:
            if not self._told_missing:
                self._told_missing = True
                found.append(Followed(kind="missing"))
            return
        self._told_missing = False
        if self._descriptor >= 0:
            if os.path.sameopenfile(descriptor, self._descriptor):
                os.close(descriptor)
                return
            self._read(found)  # what came between the last read and the rotation
            os.close(self._descriptor)
            found.append(Followed(kind="rotated"))
        self._descriptor, self._position = descriptor, 0
        self._signs.look_anew()
        self._read(found)

    def _drop(self) -> None:
        self.closed = True
        self._signs.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self._drop()


class Signs:
    """Signs by inotify(7) that a file or its name has changed; none where the library or the file is missing."""

    def __init__(self, roots: Roots, path: str) -> None:
        self._roots = roots
        self._path = path
        self._inotify: Inotify | None = None
        try:
            from asyncinotify import Inotify  # noqa: PLC0415 - of an extra
        except ImportError:
            return
        with suppress(OSError):
            self._inotify = Inotify()
        self.look_anew()

    def look_anew(self) -> None:
        """Watch what has the name now, and its directory; blocks."""
        if self._inotify is None:
            return
        from asyncinotify import Mask  # noqa: PLC0415 - as above

        file = Mask.MODIFY | Mask.ATTRIB | Mask.DELETE_SELF | Mask.MOVE_SELF
        names = Mask.CREATE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE
        for path, mask in ((self._path, file), (os.path.dirname(self._path) or "/", names)):
            with suppress(CallError, OSError):
                descriptor = self._roots.open(path, os.O_PATH)
                try:
                    self._inotify.add_watch(f"/proc/self/fd/{descriptor}", mask)
                finally:
                    os.close(descriptor)

    async def wait(self, stopped: asyncio.Event, seconds: float) -> None:
        """Wait for a sign, or until it is time to look again, or until stopped."""
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(stopped.wait())]
        if self._inotify is not None:
            waits.append(asyncio.ensure_future(self._inotify.get()))
        await first_of(*waits, timeout=seconds)

    def close(self) -> None:
        """Stop watching."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None


def _last_lines(descriptor: int, size: int, lines: int) -> int:
    """Where the last lines begin; a last line without an end counts."""
    if not lines:
        return size
    wanted = lines
    position = size
    first = True
    while position > 0:
        start = max(0, position - PIECE)
        data = os.pread(descriptor, position - start, start)
        if first and data.endswith(b"\n"):
            wanted += 1
        first = False
        at = len(data)
        while (at := data.rfind(b"\n", 0, at)) >= 0:
            wanted -= 1
            if not wanted:
                return start + at + 1
        position = start
    return 0
