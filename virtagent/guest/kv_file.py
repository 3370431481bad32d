"""A file that survives crashes: what was said to be written is there after one, and the file is never half of two."""

from __future__ import annotations

import contextlib
import os
import time

__all__ = ["StateFile"]

MOST_COPIES = 8
"""Damaged files of which copies are kept."""


class StateFile:
    """A file of the agent, readable by its owner only.

    Args:
        path: where it is; its folder is made when it is written to first.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self) -> bytes:
        """All of it; nothing if there is no such file. Raises OSError."""
        try:
            with open(self.path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def append(self, data: bytes, size: int) -> None:
        """Write behind the first ``size`` bytes, and wait until the disk has it; the file ends there.

        An OSError leaves the first ``size`` bytes as they were; some of the others may be there.
        """
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if os.fstat(descriptor).st_size != size:
                os.ftruncate(descriptor, size)
            os.lseek(descriptor, size, os.SEEK_SET)
            try:
                _write_all(descriptor, data)
                os.fdatasync(descriptor)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)

    def replace(self, data: bytes) -> None:
        """Make it hold other data: all of it or, after a crash or an OSError, none."""
        folder, temporary = os.path.dirname(self.path), f"{self.path}.new"
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(temporary, flags, 0o600)
        try:
            try:
                _write_all(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(temporary, self.path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def set_aside(self) -> str:
        """Keep what is there under another name, before it is replaced; that name, or "" if it cannot be."""
        copy = f"{self.path}.damaged-{time.time_ns()}"
        try:
            os.link(self.path, copy)
        except OSError:
            return ""
        folder, name = os.path.split(self.path)
        with contextlib.suppress(OSError):
            copies = sorted(each for each in os.listdir(folder) if each.startswith(f"{name}.damaged-"))
            for old in copies[:-MOST_COPIES]:
                os.unlink(os.path.join(folder, old))
        return copy


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
