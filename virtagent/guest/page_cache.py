"""Reads that take only what is in memory, and so never block: for most files of a guest no thread is needed."""

from __future__ import annotations

import os

__all__ = ["CachedReads"]

NOWAIT = getattr(os, "RWF_NOWAIT", 0)
"""0 where Python or its C library lacks preadv2(2)."""


class CachedReads:
    """Reads of one file from the page cache.

    Args:
        descriptor: the open file, which has positions; not owned.
        most: the most bytes of one read.

    Attributes:
        supported: the file system can tell what is in memory. Those of disks can, tmpfs and most others cannot.
    """

    def __init__(self, descriptor: int, most: int) -> None:
        self.supported = bool(NOWAIT)
        self._descriptor = descriptor
        self._most = most
        self._view = memoryview(b"")

    def read(self, size: int, offset: int) -> bytes | None:
        """Up to `size` bytes from `offset`, at least one; None: the read would have to wait, or it is not known.

        The end of the file is never told: Linux 5.9 and 5.10 say so where there is more (preadv2(2), BUGS).
        No error is raised: the read that waits meets it, too.
        """
        if not self.supported:
            return None
        if not self._view:
            self._view = memoryview(bytearray(self._most))
        part = self._view[:size]
        try:
            count = os.preadv(self._descriptor, (part,), offset, NOWAIT)
        except BlockingIOError:
            return None
        except OSError:
            self.supported = False
            return None
        return bytes(part[:count]) or None
