"""Directories below one that is open, entered one by one and never through a link."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from virtagent.archive.header import ArchiveError

__all__ = ["Directories", "safe_parts"]

ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

LONGEST_PATH = 4096
DEEPEST = 256
"""Directories within one another: each one on the way is an open descriptor."""


def safe_parts(name: bytes) -> list[str]:
    """The components of a relative path.

    Raises:
        ArchiveError: it is absolute, holds ``..`` or a NUL, or is too long.
    """
    shown = repr(os.fsdecode(name[:200]))
    if name.startswith(b"/"):
        raise ArchiveError(f"{shown} is an absolute path, which would leave the directory")
    parts = [os.fsdecode(each) for each in name.split(b"/") if each not in (b"", b".")]
    if ".." in parts:
        raise ArchiveError(f"{shown} has .., which would leave the directory")
    if b"\0" in name or len(name) > LONGEST_PATH or len(parts) > DEEPEST:
        raise ArchiveError(f"{shown} is no path, or too long")
    return parts


class Directories:
    """The way from a directory to one below it, kept open, since the next is often the same or near.

    Args:
        top: the directory, open; not owned.
        create: make directories that are missing, with mode 0o755.
        check: raises if a file system, given its ``st_dev``, must not be written to now.
    """

    def __init__(self, top: int, *, create: bool = False, check: Callable[[int], None] = lambda device: None) -> None:
        self._top = top
        self._create = create
        self._check = check
        self._way: list[tuple[str, int]] = []

    def enter(self, parts: list[str]) -> int:
        """The descriptor of a directory below; valid until the next call.

        Raises:
            ArchiveError: a link is in the way.
            OSError: it cannot be opened or made.
        """
        common = 0
        while common < min(len(parts), len(self._way)) and self._way[common][0] == parts[common]:
            common += 1
        self._leave(common)
        for name in parts[common:]:
            self._way.append((name, self._open(self.current, name)))
        return self.current

    @property
    def current(self) -> int:
        """Where the last call led."""
        return self._way[-1][1] if self._way else self._top

    def _open(self, directory: int, name: str) -> int:
        try:
            return os.open(name, ENTER, dir_fd=directory)
        except FileNotFoundError:
            if not self._create:
                raise
            self._check(os.fstat(directory).st_dev)
            os.mkdir(name, 0o755, dir_fd=directory)
            return os.open(name, ENTER, dir_fd=directory)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise ArchiveError(
                    f"{name!r} is no directory but a link or file; nothing is written through it"
                ) from None
            raise

    def _leave(self, depth: int) -> None:
        while len(self._way) > depth:
            os.close(self._way.pop()[1])

    def close(self) -> None:
        """Leave them all."""
        self._leave(0)
