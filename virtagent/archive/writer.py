"""A directory tree as an archive, piece by piece."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator, Iterable

from virtagent.archive.directories import Directories, safe_parts
from virtagent.archive.header import END, ArchiveError, padding
from virtagent.archive.member import Kind, Member, Segments, pack_member

__all__ = ["TreeWriter"]

PIECE = 256 * 1024
"""Bytes of one piece of content."""

GATHERED = 64 * 1024
"""Bytes of small pieces that go together."""

OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_KINDS: dict[int, Kind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFBLK: "block",
    stat.S_IFCHR: "character",
    stat.S_IFIFO: "fifo",
}


class TreeWriter:
    """Archives what is below a directory. Links are never followed.

    Args:
        top: the directory, open; not owned.
        xattrs: with extended attributes.
        one_filesystem: do not enter what is mounted below.
        note: told of each file that is left out, and why.
    """

    def __init__(
        self,
        top: int,
        *,
        xattrs: bool = True,
        one_filesystem: bool = False,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._top = top
        self._xattrs = xattrs
        self._device = os.fstat(top).st_dev if one_filesystem else None
        self._note = note
        self._names: dict[tuple[int, int], tuple[bytes, int]] = {}

    def tree(self) -> Generator[bytes, None, None]:
        """Everything, beginning with the directory itself."""
        return _gathered(self._tree())

    def _tree(self) -> Generator[bytes, None, None]:
        # A directory right before what is in it: whoever extracts may be done with it when the next one comes.
        walk = os.fwalk(".", dir_fd=self._top, follow_symlinks=False, onerror=self._refused)
        for where, directories, files, descriptor in walk:
            path = "" if where == "." else where.removeprefix("./")
            prefix = path and path + "/"
            yield from self._opened(descriptor, path, os.fstat(descriptor))
            for name in sorted(files):
                yield from self._entry(descriptor, name, prefix + name)
            for name in sorted(directories):
                if not self._is_entered(descriptor, name):
                    directories.remove(name)
                    yield from self._entry(descriptor, name, prefix + name)
            directories.sort()
        yield END

    def _refused(self, error: OSError) -> None:
        self._note(f"{error.filename}: {error.strerror}")

    def _is_entered(self, directory: int, name: str) -> bool:
        """Whether a directory is to be entered, and no link to one."""
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISDIR(found.st_mode) and self._device in (None, found.st_dev)

    def only(self, names: Iterable[str]) -> Generator[bytes, None, None]:
        """Those of these names, without what is below them.

        Raises:
            ArchiveError: one would leave the directory.
        """
        return _gathered(self._only(names))

    def _only(self, names: Iterable[str]) -> Generator[bytes, None, None]:
        directories = Directories(self._top)
        try:
            for each in names:
                parts = safe_parts(os.fsencode(each))
                try:
                    descriptor = directories.enter(parts[:-1])
                except (OSError, ArchiveError) as error:
                    self._note(f"{each}: {error}")
                    continue
                yield from self._entry(descriptor, parts[-1] if parts else ".", "/".join(parts))
        finally:
            directories.close()
        yield END

    def _entry(self, directory: int, name: str, path: str) -> Generator[bytes, None, None]:
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            kind = _KINDS.get(stat.S_IFMT(found.st_mode))
            if kind is None:
                self._note(f"{path}: sockets are not archived")
            elif kind in ("file", "directory"):
                descriptor = os.open(name, OPEN, dir_fd=directory)
                try:
                    yield from self._opened(descriptor, path, found)
                finally:
                    os.close(descriptor)
            else:
                yield self._special(directory, name, path, found, kind)
        except OSError as error:
            self._note(f"{path}: {error.strerror or error}")

    def _opened(self, descriptor: int, path: str, listed: os.stat_result) -> Generator[bytes, None, None]:
        found = os.fstat(descriptor)
        if stat.S_IFMT(found.st_mode) != stat.S_IFMT(listed.st_mode):
            raise OSError(errno.EAGAIN, "was replaced while it was looked at")
        if stat.S_ISDIR(found.st_mode):
            yield pack_member(self._member(path or ".", "directory", found, self._attributes(descriptor)))
            return
        first = self._first_name(path, found)
        if first is not None:
            yield pack_member(self._member(path, "hardlink", found, {})._replace(target=first))
            return
        segments = _segments(descriptor, found) if found.st_blocks * 512 < found.st_size else None
        member = self._member(path, "file", found, self._attributes(descriptor))
        member = member._replace(size=found.st_size, segments=segments)
        yield pack_member(member)
        sparse = [(0, found.st_size)] if segments is None else segments
        for offset, length in sparse:
            yield from self._content(descriptor, offset, length, path)
        yield bytes(padding(member.stored))

    def _content(self, descriptor: int, offset: int, left: int, path: str) -> Generator[bytes, None, None]:
        """Exactly as many bytes as were promised: zeros where the file has become shorter or cannot be read."""
        broken = False
        while left:
            size = min(left, PIECE)
            data = b""
            if not broken:
                try:
                    data = os.pread(descriptor, size, offset)
                except OSError as error:
                    self._note(f"{path}: {error.strerror}; filled up with zeros")
                if not data:
                    broken = True
            yield data or bytes(size)
            offset += len(data) or size
            left -= len(data) or size

    def _first_name(self, path: str, found: os.stat_result) -> bytes | None:
        """The name under which the same file was archived before; None: it was not."""
        if found.st_nlink < 2:
            return None
        key = (found.st_dev, found.st_ino)
        if key not in self._names:
            self._names[key] = (os.fsencode(path), found.st_nlink - 1)
            return None
        first, left = self._names.pop(key)
        if left > 1:
            self._names[key] = (first, left - 1)
        return first

    def _special(self, directory: int, name: str, path: str, found: os.stat_result, kind: Kind) -> bytes:
        target = os.fsencode(os.readlink(name, dir_fd=directory)) if kind == "link" else b""
        xattrs = self._attributes(f"/proc/self/fd/{directory}/{name}")
        return pack_member(self._member(path, kind, found, xattrs)._replace(target=target))

    def _member(self, path: str, kind: Kind, found: os.stat_result, xattrs: dict[bytes, bytes]) -> Member:
        device = found.st_rdev if kind in ("block", "character") else 0
        return Member(
            name=os.fsencode(path),
            kind=kind,
            mode=stat.S_IMODE(found.st_mode),
            uid=found.st_uid,
            gid=found.st_gid,
            mtime=found.st_mtime_ns,
            major=os.major(device),
            minor=os.minor(device),
            xattrs=xattrs,
        )

    def _attributes(self, file: int | str) -> dict[bytes, bytes]:
        """Extended attributes; none where the file system has none, or they may not be read."""
        if not self._xattrs:
            return {}
        follow = isinstance(file, int)
        try:
            return {
                os.fsencode(each): os.getxattr(file, each, follow_symlinks=follow)
                for each in os.listxattr(file, follow_symlinks=follow)
            }
        except OSError:
            return {}


def _segments(descriptor: int, found: os.stat_result) -> Segments | None:
    """Where a file has data; None: everywhere, or the file system cannot tell.

    An empty piece at the end says how long the file is, as GNU tar writes it.
    """
    segments: Segments = []
    at = 0
    try:
        while at < found.st_size:
            try:
                start = os.lseek(descriptor, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    break
                raise
            at = min(os.lseek(descriptor, start, os.SEEK_HOLE), found.st_size)
            if start < at:
                segments.append((start, at - start))
    except OSError:
        return None
    if segments == [(0, found.st_size)]:
        return None
    if not segments or sum(segments[-1]) < found.st_size:
        segments.append((found.st_size, 0))
    return segments


def _gathered(pieces: Iterable[bytes]) -> Generator[bytes, None, None]:
    """The same bytes with small pieces joined: a tree of small files is many headers."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        if not piece:
            continue
        waiting.append(piece)
        size += len(piece)
        if size >= GATHERED:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
