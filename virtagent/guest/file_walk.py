"""Listing directories: one, a whole tree, what matches a pattern, and what it all takes on the disk.

Every directory is opened relative to the one that it is in, without following links: a tree that is changed meanwhile
may be told of as it was or as it is, but never leads elsewhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from virtagent.api.file_types import DiskUse, Entry, FileKind
from virtagent.errors import CallError, InvalidArgument, ResourceExhausted
from virtagent.guest.file_facts import entry_of
from virtagent.guest.file_roots import Roots
from virtagent.guest.os_errors import call_error

__all__ = ["Filter", "disk_use", "glob", "list_directory", "tree"]

LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK
BELOW = LIST | os.O_NOFOLLOW

DEEPEST = 256
"""Directories that are open at a time; what lies deeper is told with an error."""


class Filter(NamedTuple):
    """Which files are wanted; see :meth:`virtagent.api.files.Files.tree`."""

    names: list[str] | None = None
    kinds: list[FileKind] | None = None
    smallest: int | None = None
    largest: int | None = None
    newer: int | None = None
    older: int | None = None

    def wants(self, entry: Entry) -> bool:
        """Whether a file is wanted. One that could not be looked at is, lest nobody hears of it."""
        if entry.error:
            return True
        name = entry.path.rpartition("/")[2]
        return (
            (self.names is None or any(fnmatchcase(name, each) for each in self.names))
            and (self.kinds is None or entry.kind in self.kinds)
            and (self.smallest is None or entry.size >= self.smallest)
            and (self.largest is None or entry.size <= self.largest)
            and (self.newer is None or entry.mtime >= self.newer)
            and (self.older is None or entry.mtime <= self.older)
        )


def list_directory(roots: Roots, path: str) -> Generator[Entry, None, None]:
    """The entries of a directory."""
    directory = roots.open(path, LIST)
    try:
        for name in _names(directory):
            yield look(directory, name, name)
    except OSError as error:
        raise call_error(path, error) from None
    finally:
        os.close(directory)


def look(directory: int, name: str, path: str) -> Entry:
    """What is told of a name in a directory; with an error if it has vanished."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        target = os.readlink(name, dir_fd=directory) if stat.S_ISLNK(found.st_mode) else None
    except OSError as error:
        return Entry(path=path, error=error.strerror or str(error))
    return entry_of(path, found, target)


def _names(directory: int) -> Iterator[str]:
    """The names in an opened directory; never all at once, since there may be millions."""
    with os.scandir(directory) as listing:
        for each in listing:
            yield each.name


def tree(
    roots: Roots, path: str, *, depth: int, most: int, one_filesystem: bool, wanted: Filter
) -> Generator[Entry, None, None]:
    """A file or directory and all below it."""
    count = 0
    for entry in _descend(roots, path, depth, one_filesystem):
        if wanted.wants(entry):
            count += 1
            if count > most:
                raise ResourceExhausted(f"{path}: more than {most} entries; narrow it down, or ask for more")
            yield entry


def _descend(roots: Roots, path: str, depth: int, one_filesystem: bool) -> Generator[Entry, None, None]:
    """All entries, each directory before what is in it."""
    top = roots.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        found = os.fstat(top)
        if not stat.S_ISDIR(found.st_mode):
            target = os.readlink("", dir_fd=top) if stat.S_ISLNK(found.st_mode) else None
            yield entry_of(".", found, target)
            return
        yield entry_of(".", found, None)
        if depth == 0:
            return
        try:
            opened = os.open(".", BELOW, dir_fd=top)
        except OSError as error:
            raise call_error(path, error) from None
    finally:
        os.close(top)
    try:
        yield from _below(opened, depth, found.st_dev if one_filesystem else None)
    except OSError as error:
        raise call_error(path, error) from None


def _below(top: int, depth: int, device: int | None) -> Generator[Entry, None, None]:
    """What is in an opened directory, which is closed at the end, and below."""
    stack: list[tuple[int, Iterator[str], str]] = []

    def enter(directory: int, prefix: str) -> None:
        stack.append((directory, _names(directory), prefix))

    try:
        enter(top, "")
        while stack:
            directory, names, prefix = stack[-1]
            name = next(names, None)
            if name is None:
                stack.pop()
                os.close(directory)
                continue
            entry = look(directory, name, prefix + name)
            if entry.kind != "directory" or len(stack) >= depth:
                yield entry
                continue
            opened, problem = _open_below(directory, name, device, len(stack))
            if opened >= 0:  # before anything is told: whoever listens may leave then, and what is entered is closed
                enter(opened, f"{prefix}{name}/")
            yield entry if not problem else _with_error(entry, problem)
    finally:
        for directory, names, _ in reversed(stack):
            names.close()  # type: ignore[attr-defined]
            os.close(directory)


def _open_below(directory: int, name: str, device: int | None, level: int) -> tuple[int, str]:
    """Open a directory to be entered: its descriptor, or -1 and why it cannot be; -1 and "": it is not wanted."""
    if level >= DEEPEST:
        return -1, f"too deep: more than {DEEPEST} directories"
    try:
        opened = os.open(name, BELOW, dir_fd=directory)
    except OSError as error:
        return -1, error.strerror or str(error)
    if device is not None and os.fstat(opened).st_dev != device:
        os.close(opened)
        return -1, ""
    return opened, ""


def _with_error(entry: Entry, error: str) -> Entry:
    from msgspec import structs  # noqa: PLC0415 - for what cannot be entered

    return structs.replace(entry, error=error)


def glob(roots: Roots, pattern: str, *, most: int) -> Generator[Entry, None, None]:
    """The files whose path matches; see :meth:`virtagent.api.files.Files.glob`."""
    if not pattern.startswith("/") or "\0" in pattern:
        raise InvalidArgument(f"argument 'pattern': {pattern!r} is no absolute path; begin it with /")
    parts = [each for each in pattern.split("/") if each not in ("", ".")]
    if ".." in parts:
        raise InvalidArgument(f"argument 'pattern': {pattern!r} has ..; write the path without")
    if sum(each == "**" for each in parts) > 4:
        raise InvalidArgument("argument 'pattern': more than 4 **; be more exact")
    for count, entry in enumerate(_matching(roots, "", parts)):
        if count == most:
            raise ResourceExhausted(f"{pattern}: more than {most} files; narrow it down, or ask for more")
        yield entry


def _matching(roots: Roots, prefix: str, parts: list[str]) -> Generator[Entry, None, None]:
    """What matches the parts below a directory whose path is known."""
    fixed = 0
    while fixed < len(parts) and not _is_pattern(parts[fixed]):
        fixed += 1
    base = prefix + "".join(f"/{each}" for each in parts[:fixed])
    rest = parts[fixed:]
    if not rest:
        yield from _if_there(roots, base or "/")
        return
    if rest[0] == "**":
        rest = [each for index, each in enumerate(rest) if each != "**" or index == 0 or rest[index - 1] != "**"]
        yield from _anywhere(roots, base, rest[1:])
        return
    for name in _matching_names(roots, base, rest[0]):
        if len(rest) == 1:
            yield from _if_there(roots, f"{base}/{name}")
        else:
            yield from _matching(roots, f"{base}/{name}", rest[1:])


def _anywhere(roots: Roots, base: str, rest: list[str]) -> Generator[Entry, None, None]:
    """What matches below a directory or any directory in it."""
    try:
        for entry in _descend(roots, base or "/", 4096, one_filesystem=False):
            path = base if entry.path == "." else f"{base}/{entry.path}"
            if not rest:
                yield _renamed(entry, path or "/")
            elif entry.kind == "directory" and not entry.error:
                yield from _matching(roots, path, rest)
    except CallError:
        return  # as in a shell, what cannot be read matches nothing


def _matching_names(roots: Roots, base: str, pattern: str) -> list[str]:
    """The names in a directory that match; none where it cannot be read."""
    try:
        directory = roots.open(base or "/", LIST)
    except CallError:
        return []
    try:
        hidden = pattern.startswith(".")
        return sorted(
            name for name in _names(directory) if fnmatchcase(name, pattern) and (hidden or not name.startswith("."))
        )
    except OSError:
        return []
    finally:
        os.close(directory)


def _if_there(roots: Roots, path: str) -> Generator[Entry, None, None]:
    try:
        descriptor = roots.open(path, os.O_PATH | os.O_NOFOLLOW)
    except CallError:
        return
    try:
        found = os.fstat(descriptor)
        target = os.readlink("", dir_fd=descriptor) if stat.S_ISLNK(found.st_mode) else None
    finally:
        os.close(descriptor)
    yield entry_of(path, found, target)


def _renamed(entry: Entry, path: str) -> Entry:
    from msgspec import structs  # noqa: PLC0415 - as above

    return structs.replace(entry, path=path)


def _is_pattern(part: str) -> bool:
    return any(each in part for each in "*?[")


def disk_use(roots: Roots, path: str, *, depth: int, one_filesystem: bool) -> Generator[DiskUse, None, None]:
    """What each directory down to a depth takes; a file with several names counts once."""
    seen: set[int] = set()
    sums: list[_Sum] = []

    def told(each: _Sum) -> Iterator[DiskUse]:
        if each.depth <= depth:
            yield each.result()

    for entry in _descend(roots, path, 4096, one_filesystem):
        level = 0 if entry.path == "." else entry.path.count("/") + 1
        while sums and sums[-1].depth >= level:
            done = sums.pop()
            yield from told(done)
            if sums:
                sums[-1].add(done)
        if entry.kind == "directory" or not sums:
            sums.append(_Sum(entry.path, level))
        sums[-1].count(entry, seen)
    while sums:
        done = sums.pop()
        yield from told(done)
        if sums:
            sums[-1].add(done)


class _Sum:
    """What has been found in one directory."""

    def __init__(self, path: str, depth: int) -> None:
        self.path = path
        self.depth = depth
        self.size = self.allocated = self.files = self.errors = 0

    def count(self, entry: Entry, seen: set[int]) -> None:
        self.errors += bool(entry.error)
        if entry.links > 1 and entry.kind != "directory":
            if entry.inode in seen:
                return
            seen.add(entry.inode)
        self.size += entry.size
        self.allocated += entry.allocated
        self.files += 1

    def add(self, other: _Sum) -> None:
        self.size += other.size
        self.allocated += other.allocated
        self.files += other.files
        self.errors += other.errors

    def result(self) -> DiskUse:
        return DiskUse(path=self.path, size=self.size, allocated=self.allocated, files=self.files, errors=self.errors)
