"""What stat(2) tells, as host and guest agreed on it."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from functools import lru_cache

from virtagent.api.file_types import Entry, FileKind, FileStat
from virtagent.errors import InvalidArgument

__all__ = ["entry_of", "file_stat", "group_id", "group_name", "kind_of", "user_id", "user_name"]

_KINDS: dict[int, FileKind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFBLK: "block",
    stat.S_IFCHR: "character",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


def kind_of(mode: int) -> FileKind:
    """The kind of file."""
    return _KINDS.get(stat.S_IFMT(mode), "unknown")


def file_stat(found: os.stat_result, target: str | None) -> FileStat:
    """What is told of one file."""
    return FileStat(
        kind=kind_of(found.st_mode),
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
        mtime=found.st_mtime_ns,
        allocated=found.st_blocks * 512,
        user=user_name(found.st_uid) or None,
        group=group_name(found.st_gid) or None,
    )


def entry_of(path: str, found: os.stat_result, target: str | None) -> Entry:
    """What is told of one of many files."""
    return Entry(
        path=path,
        kind=kind_of(found.st_mode),
        size=found.st_size,
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        mtime=found.st_mtime_ns,
        allocated=found.st_blocks * 512,
        links=found.st_nlink,
        inode=found.st_ino,
        user=user_name(found.st_uid),
        group=group_name(found.st_gid),
        target=target,
    )


@lru_cache(maxsize=256)
def user_name(uid: int) -> str:
    """The name of a user; "" if it has none."""
    import pwd  # noqa: PLC0415 - reading alone does not need it

    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return ""


@lru_cache(maxsize=256)
def group_name(gid: int) -> str:
    """The name of a group; "" if it has none."""
    import grp  # noqa: PLC0415 - as above

    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError):
        return ""


def user_id(name: str | None) -> int:
    """The number of a user, given by name or number; -1, which chown(2) leaves as it is, for None.

    Raises:
        InvalidArgument: there is no such user.
    """
    import pwd  # noqa: PLC0415 - as above

    if name is None:
        return -1
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return _number(name, "user")


def group_id(name: str | None) -> int:
    """The number of a group, as above.

    Raises:
        InvalidArgument: there is no such group.
    """
    import grp  # noqa: PLC0415 - as above

    if name is None:
        return -1
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return _number(name, "group")


def _number(name: str, what: str) -> int:
    if name.isascii() and name.isdigit() and int(name) < 2**32 - 1:
        return int(name)
    raise InvalidArgument(f"argument {what!r}: the guest has no {what} {name!r}; give a number, or make it first")


def _moment(nanoseconds: int) -> datetime:
    """A file's time; one that Python's calendar does not have becomes the nearest it has."""
    seconds = nanoseconds / 1e9
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.max.replace(tzinfo=UTC) if seconds > 0 else datetime.min.replace(tzinfo=UTC)
