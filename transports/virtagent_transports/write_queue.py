"""Bytes that wait to be written: no joining, no re-slicing, linear in their number."""

from __future__ import annotations

import os
from collections import deque
from typing import TypeAlias

__all__ = ["Bytes", "WriteQueue"]

Bytes: TypeAlias = bytes | bytearray | memoryview

IOV = 64
"""Pieces per writev(2); the kernel's bound is 1024 (IOV_MAX), but more than this brings nothing."""


class WriteQueue:
    """Views of what is still to be written, in order.

    ``bytes`` (and memoryviews of ``bytes``) are kept by reference; what its owner could change later, a bytearray
    or a view of one, is copied.

    Args:
        max_write: what one write may hold at most, in bytes.
        joined: copy pieces that go together into one, for files where each piece of a writev(2) is a write of its own.
    """

    def __init__(self, max_write: int, *, joined: bool = False) -> None:
        self._pieces: deque[memoryview] = deque()
        self._max_write = max_write
        self._joined = joined
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def append(self, view: memoryview) -> None:
        """Add the bytes of a view (format "B")."""
        if not len(view):
            return
        self._pieces.append(view if type(view.obj) is bytes else memoryview(bytes(view)))
        self.size += len(view)

    def clear(self) -> None:
        """Forget all."""
        self._pieces.clear()
        self.size = 0

    def send(self, fd: int) -> int:
        """Write once to a non-blocking file; returns the number of bytes that it took.

        Raises:
            OSError: BlockingIOError where the file takes nothing now; nothing was written.
        """
        batch: list[memoryview] = []
        room = self._max_write
        for piece in self._pieces:
            if len(batch) == IOV or not room:
                break
            batch.append(piece[:room])
            room -= len(batch[-1])
        sent = os.write(fd, b"".join(batch)) if self._joined and len(batch) > 1 else os.writev(fd, batch)
        self._forget(sent)
        return sent

    def _forget(self, sent: int) -> None:
        self.size -= sent
        while sent:
            first = self._pieces[0]
            if len(first) > sent:
                self._pieces[0] = first[sent:]
                return
            sent -= len(first)
            self._pieces.popleft()
