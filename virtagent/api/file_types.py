"""What files of the guest are told of with."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

__all__ = [
    "DEFAULT_CHUNK",
    "MOST_ENTRIES",
    "Algorithm",
    "Change",
    "ChangeKind",
    "ChangeKinds",
    "Checksum",
    "ChunkSize",
    "Depth",
    "DiskUse",
    "Entry",
    "Extracted",
    "FileKind",
    "FileStat",
    "FileTime",
    "Followed",
    "FollowedKind",
    "Kinds",
    "Lines",
    "Mode",
    "Most",
    "Names",
    "Owner",
    "Partial",
    "Path",
    "Patterns",
    "Removed",
    "Size",
    "Token",
    "Written",
]

DEFAULT_CHUNK = 64 * 1024
"""Bytes of a chunk, if the caller does not say: the frame limit of a virtio port."""

MOST_ENTRIES = 10_000_000
"""Entries of one listing, and files that one removal takes, at most."""

Path = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
"""An absolute path of at most PATH_MAX. What is not UTF-8 is surrogate escapes (rule V1), as ``os.fsdecode`` does."""

Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A size or a position, in bytes: what fits off_t."""

ChunkSize = Annotated[int, msgspec.Meta(ge=1, le=1024 * 1024)]
"""The most bytes that come in one chunk."""

Depth = Annotated[int, msgspec.Meta(ge=0, le=4096)]
"""Directories below the one that was named; 0: only that one."""

Most = Annotated[int, msgspec.Meta(ge=1, le=MOST_ENTRIES)]
"""How many there may be; one more is ``ResourceExhausted``."""

Names = Annotated[list[Path], msgspec.Meta(max_length=200_000)]
"""Paths relative to a directory."""

Patterns = Annotated[list[Path], msgspec.Meta(max_length=64)]
"""Patterns of names, as fnmatch(3) has them: ``*``, ``?``, ``[...]``."""

Mode = Annotated[int, msgspec.Meta(ge=0, le=0o7777)]
"""Permission bits, with set-user-ID, set-group-ID and sticky."""

Owner = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
"""The name of a user or group of the guest, or a number in decimal."""

FileTime = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""Nanoseconds since the epoch, exactly as the file system has them."""

Token = Annotated[str, msgspec.Meta(min_length=8, max_length=32, pattern="^[0-9a-z]+$")]
"""Names an upload, so that it can go on after the session was lost; random, chosen by the caller."""

Algorithm = Literal["sha256", "sha512", "blake2b", "sha1", "md5"]
"""sha1 and md5 only to compare with what others have published: they protect against nobody."""

FileKind = Literal["file", "directory", "link", "block", "character", "fifo", "socket", "unknown"]

ChangeKind = Literal[
    "created", "modified", "written", "attributes", "deleted", "moved", "gone", "unmounted", "overflow"
]

FollowedKind = Literal["data", "rotated", "truncated", "missing"]

Kinds = Annotated[list[FileKind], msgspec.Meta(max_length=16)]
"""Kinds of files that are wanted."""

ChangeKinds = Annotated[list[ChangeKind], msgspec.Meta(max_length=16)]
"""Kinds of changes that are wanted."""

Lines = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
"""Lines at the end of a file."""


class FileStat(msgspec.Struct, frozen=True, kw_only=True):
    """What stat(2) tells.

    Attributes:
        size: bytes.
        mode: the permission bits, without the kind.
        target: what a link points to, if links were not followed.
        mtime: ``modified``, in nanoseconds since the epoch.
        allocated: bytes on the disk; fewer than ``size`` in a sparse file.
        user, group: the names of the owners, where they have some.
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
    mtime: int | None = None
    allocated: int | None = None
    user: str | None = None
    group: str | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file of a listing; links are not followed.

    Attributes:
        path: relative to what was listed; "." for itself.
        size, allocated: bytes, and bytes on the disk.
        mode: the permission bits.
        mtime: nanoseconds since the epoch.
        target: what a link points to.
        error: why it could not be looked at, or into: the other fields may then be empty.
    """

    path: str
    kind: FileKind = "unknown"
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    allocated: int = 0
    links: int = 1
    inode: int = 0
    user: str = ""
    group: str = ""
    target: str | None = None
    error: str = ""


class DiskUse(msgspec.Struct, frozen=True, kw_only=True):
    """What a directory and all below it take.

    Attributes:
        path: relative to what was asked for; "." for itself.
        size: the sum of the files' sizes, in bytes.
        allocated: bytes on the disk.
        files: how many, directories included; a file with several names counts once.
        errors: how many could not be looked at.
    """

    path: str
    size: int
    allocated: int
    files: int
    errors: int = 0


class Checksum(msgspec.Struct, frozen=True, kw_only=True):
    """The digest of some bytes of a file.

    Attributes:
        digest: in hexadecimal.
        size: how many bytes were read.
    """

    algorithm: Algorithm
    digest: str
    size: int


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A file after it was written to.

    Attributes:
        size: its size now, in bytes.
        written: bytes that this call wrote.
        inode, mtime: which file it is now.
    """

    size: int
    written: int
    inode: int | None = None
    mtime: int | None = None


class Partial(msgspec.Struct, frozen=True, kw_only=True):
    """What is there of an upload that was not finished.

    Attributes:
        size: bytes that are there; 0: nothing is.
        sha256: their digest, in hexadecimal.
    """

    size: int
    sha256: str


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What a removal removed.

    Attributes:
        files: how many, directories included.
    """

    files: int


class Extracted(msgspec.Struct, frozen=True, kw_only=True):
    """What was extracted from an archive.

    Attributes:
        files: how many, directories and links included.
        size: bytes of their content, holes included.
        notes: what could not be kept (an owner, an attribute) and of which file; the first few only.
    """

    files: int
    size: int
    notes: list[str] = []


class Followed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of a file that is followed, or what became of the file.

    Attributes:
        kind: "data"; "rotated": the name is another file's now, which is read from its begin; "truncated": it became
            shorter, and is read from its begin; "missing": there is no file of the name at the moment.
        data: the bytes.
        offset: the position of the first of them.
    """

    kind: FollowedKind = "data"
    data: bytes = b""
    offset: int = 0


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something changed in what is watched (inotify(7)).

    Attributes:
        kind: "created"; "modified": written to, or truncated; "written": closed by who wrote to it; "attributes";
            "deleted"; "moved": from ``source``; "gone": what was watched itself is gone, and the watch ends;
            "unmounted": so is its file system; "overflow": the kernel dropped changes: look at everything anew.
        path: relative to what is watched; "." for itself.
        source: where a file was moved from.
        directory: it is a directory.
    """

    kind: ChangeKind
    path: str = "."
    source: str | None = None
    directory: bool = False
