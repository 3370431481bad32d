"""Files of the guest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from virtagent.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = ["DEFAULT_CHUNK", "ChunkSize", "FileKind", "FileStat", "Files", "Path", "Size"]

DEFAULT_CHUNK = 64 * 1024
"""Bytes of a chunk, if the caller does not say: the frame limit of a virtio port."""

Path = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
"""An absolute path of at most PATH_MAX. What is not UTF-8 is surrogate escapes (rule V1), as ``os.fsdecode`` does."""

Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A size or a position, in bytes: what fits off_t."""

ChunkSize = Annotated[int, msgspec.Meta(ge=1, le=1024 * 1024)]
"""The most bytes that come in one chunk."""

FileKind = Literal["file", "directory", "link", "block", "character", "fifo", "socket", "unknown"]


class FileStat(msgspec.Struct, frozen=True, kw_only=True):
    """What stat(2) tells.

    Attributes:
        size: bytes.
        mode: the permission bits, without the kind.
        target: what a link points to, if links were not followed.
    """

    kind: FileKind
    size: int
    mode: int
    uid: int
    gid: int
    modified: datetime
    accessed: datetime | None = None
    changed: datetime | None = None
    inode: int | None = None
    device: int | None = None
    links: int | None = None
    target: str | None = None


class Files(Service, name="files", interface=True):
    """Files of the guest."""

    @method(
        idempotent=True,
        role="files-read",
        since="0.1.0",
        errors=(NotFound, PermissionDenied, FailedPrecondition, InvalidArgument),
    )
    def read(
        self,
        path: Path,
        *,
        offset: Size = 0,
        length: Size | None = None,
        chunk: ChunkSize = DEFAULT_CHUNK,
    ) -> AsyncIterator[bytes]:
        """The bytes of a file, as it is while they are read.

        Args:
            path: an absolute path.
            offset: the position of the first byte; beyond the file's end there is nothing, which is no error.
            length: the most bytes to read; by default all up to the end.
            chunk: the most bytes that come at once.

        Raises:
            NotFound: there is no such file.
            PermissionDenied: the agent may not read it.
            FailedPrecondition: it is a directory, or a position was asked of something that has none.
            InvalidArgument: the path is not absolute, or holds a NUL.
        """
        raise NotImplementedError

    @method(idempotent=True, role="files-read", since="0.1.0", errors=(NotFound, PermissionDenied, InvalidArgument))
    async def stat(self, path: Path, *, follow: bool = True) -> FileStat:
        """What kind of file it is, how large, whose, and of when.

        Args:
            path: an absolute path.
            follow: tell of what a link points to, not of the link.

        Raises:
            NotFound: there is no such file.
            PermissionDenied: the agent may not reach it.
            InvalidArgument: the path is not absolute, or holds a NUL.
        """
        raise NotImplementedError
