"""The service ``files``."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from virtagent.api.files import DEFAULT_CHUNK, ChunkSize, FileKind, Files, FileStat, Path, Size
from virtagent.guest.resources import GuestService, Resources
from virtagent.service.options import in_thread

__all__ = ["FilesService"]

THREADS = 4
"""Reads that may block at a time: a file system that hangs costs its readers, not the agent."""

_KINDS: dict[int, FileKind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFBLK: "block",
    stat.S_IFCHR: "character",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


class FilesService(GuestService, Files):
    """Reads with the rights of the agent. What only reading needs is loaded by the first call."""

    def __init__(self, resources: Resources | None = None) -> None:
        super().__init__(resources)
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="virtagent-files")

    def read(
        self, path: Path, *, offset: Size = 0, length: Size | None = None, chunk: ChunkSize = DEFAULT_CHUNK
    ) -> AsyncIterator[bytes]:
        # A plain `def`: it runs in a thread, since open(2) may block, and its errors answer the call itself.
        from virtagent.guest.file_reader import open_for_reading  # noqa: PLC0415 - as said above

        return open_for_reading(path, offset=offset, length=length, chunk=chunk, executor=self._executor)

    @in_thread
    def stat(self, path: Path, *, follow: bool = True) -> FileStat:
        from virtagent.guest.file_reader import check_path  # noqa: PLC0415 - as said above
        from virtagent.guest.os_errors import call_error  # noqa: PLC0415

        check_path(path)
        try:
            found = os.stat(path, follow_symlinks=follow)
            target = os.readlink(path) if stat.S_ISLNK(found.st_mode) else None
        except OSError as error:
            raise call_error(path, error) from None
        return FileStat(
            kind=_KINDS.get(stat.S_IFMT(found.st_mode), "unknown"),
            size=found.st_size,
            mode=stat.S_IMODE(found.st_mode),
            uid=found.st_uid,
            gid=found.st_gid,
            modified=_moment(found.st_mtime_ns),
            accessed=_moment(found.st_atime_ns),
            changed=_moment(found.st_ctime_ns),
            inode=found.st_ino,
            device=found.st_dev,
            links=found.st_nlink,
            target=target,
        )


def _moment(nanoseconds: int) -> datetime:
    """A file's time; one that Python's calendar does not have becomes the nearest it has."""
    seconds = nanoseconds / 1e9
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.max.replace(tzinfo=UTC) if seconds > 0 else datetime.min.replace(tzinfo=UTC)
