"""Directory trees between host and guest: whole, or only what differs."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from virtagent.api.file_types import Entry, Extracted, FileKind
from virtagent.archive.extractor import Extractor
from virtagent.archive.header import ArchiveError
from virtagent.archive.reader import ArchiveReader
from virtagent.archive.writer import TreeWriter
from virtagent.errors import DataLoss, InvalidArgument, NotFound, ResourceExhausted, SessionLost

if TYPE_CHECKING:
    from virtagent.host.files import GuestFiles, Progress

__all__ = ["Difference", "compare", "get_tree", "guest_entries", "local_entries", "put_tree"]

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

MOST_ENTRIES = 1_000_000
"""Files of a tree that is compared."""

_KINDS: dict[int, FileKind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFBLK: "block",
    stat.S_IFCHR: "character",
}


class Difference(NamedTuple):
    """What makes one tree like another.

    Attributes:
        copy: what differs or is missing, in order: directories before what is in them.
        delete: what is not in the source, or is of another kind there; innermost first.
        size: bytes of the files to copy.
    """

    copy: list[str]
    delete: list[str]
    size: int


async def guest_entries(files: GuestFiles, path: str) -> dict[str, Entry]:
    """Everything below a directory of the guest, by relative path; nothing if it is not there.

    Raises:
        CallError: it cannot be listed.
        ResourceExhausted: there are too many.
    """
    try:
        found: dict[str, Entry] = {}
        async for each in files.bulk().tree(path, most=MOST_ENTRIES):
            if len(found) >= MOST_ENTRIES:  # the guest need not keep to what it was asked
                raise ResourceExhausted(f"{path}: the guest tells of more than {MOST_ENTRIES} files; copy parts of it")
            found[each.path] = each
        return found
    except NotFound:
        return {}


def local_entries(top: Path) -> dict[str, Entry]:
    """The same of a local directory; blocks."""
    found: dict[str, Entry] = {}
    if not top.is_dir():
        return found
    found["."] = _entry(".", os.stat(top), None)
    for where, directories, names, descriptor in os.fwalk(top, follow_symlinks=False):
        prefix = os.path.relpath(where, top)
        for name in (*directories, *names):
            path = name if prefix == "." else f"{prefix}/{name}"
            state = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            target = os.readlink(name, dir_fd=descriptor) if stat.S_ISLNK(state.st_mode) else None
            found[path] = _entry(path, state, target)
    return found


def _entry(path: str, state: os.stat_result, target: str | None) -> Entry:
    return Entry(
        path=path,
        kind=_KINDS.get(stat.S_IFMT(state.st_mode), "unknown"),
        size=state.st_size,
        mode=stat.S_IMODE(state.st_mode),
        mtime=state.st_mtime_ns,
        target=target,
    )


def compare(source: dict[str, Entry], target: dict[str, Entry]) -> Difference:
    """What differs by kind, size, time and mode (without set-user-ID bits), and in links by where they lead.

    Args:
        source, target: what is there, and what is to become like it.
    """
    copy: list[str] = []
    size = 0
    for path in sorted(source, key=lambda each: each.split("/")):
        ours, theirs = source[path], target.get(path)
        if ours.kind in ("socket", "unknown"):
            continue
        if theirs is None or _differs(ours, theirs):
            copy.append(path)
            size += ours.size if ours.kind == "file" else 0
    delete = [
        path
        for path in sorted(target, key=lambda each: each.split("/"), reverse=True)
        if path != "." and (path not in source or _kinds_clash(source[path], target[path]))
    ]
    return Difference(copy, delete, size)


def _kinds_clash(ours: Entry, theirs: Entry) -> bool:
    return ours.kind != theirs.kind and "directory" in (ours.kind, theirs.kind)


def _differs(ours: Entry, theirs: Entry) -> bool:
    if ours.kind != theirs.kind:
        return True
    if ours.kind == "link":
        return ours.target != theirs.target
    if (ours.mode & 0o777) != (theirs.mode & 0o777):
        return True
    return ours.kind == "file" and (ours.size, ours.mtime) != (theirs.size, theirs.mtime)


async def put_tree(
    files: GuestFiles,
    source: Path,
    path: str,
    *,
    ownership: bool,
    xattrs: bool,
    names: list[str] | None,
    progress: Progress | None,
    patience: float,
) -> Extracted:
    """See :meth:`virtagent.host.files.GuestFiles.put_tree`."""
    top = os.open(source, DIRECTORY)
    notes: list[str] = []
    done = Sum()
    try:
        while True:
            try:
                writer = TreeWriter(top, xattrs=xattrs, note=notes.append)
                data = writer.tree() if names is None else writer.only(names)
                result = await files.bulk().extract(
                    path, done.count(data, progress), ownership=ownership, xattrs=xattrs
                )
                return Extracted(files=result.files, size=result.size, notes=[*notes, *result.notes])
            except SessionLost as error:
                await files.back(error, patience)
            notes.clear()
            try:
                here = await asyncio.to_thread(local_entries, source)
                names = _left(compare(here, await guest_entries(files, path)).copy, names)
            except SessionLost as error:
                await files.back(error, patience)
    finally:
        os.close(top)


def _left(differing: list[str], names: list[str] | None) -> list[str]:
    """Of what differs, what was to be copied."""
    if names is None:
        return differing
    wanted = set(names)
    return [each for each in differing if each in wanted]


async def get_tree(
    files: GuestFiles,
    path: str,
    target: Path,
    *,
    ownership: bool,
    xattrs: bool,
    privileges: bool,
    names: list[str] | None,
    progress: Progress | None,
    patience: float,
) -> Extracted:
    """See :meth:`virtagent.host.files.GuestFiles.get_tree`."""
    done = Sum()
    await asyncio.to_thread(target.mkdir, parents=True, exist_ok=True)
    top = os.open(target, DIRECTORY)
    try:
        while True:
            extractor = Extractor(top, ownership=ownership, xattrs=xattrs, privileges=privileges)
            try:
                options = {} if names is None else {"names": names}
                data = files.bulk().archive(path, xattrs=xattrs, **options)  # type: ignore[arg-type]
                await _extract(extractor, data, done, progress)
                return Extracted(files=extractor.files, size=extractor.size, notes=extractor.notes)
            except SessionLost as error:
                await files.back(error, patience)
            finally:
                await asyncio.to_thread(extractor.close)
            try:
                there = await guest_entries(files, path)
                names = _left(compare(there, await asyncio.to_thread(local_entries, target)).copy, names)
            except SessionLost as error:
                await files.back(error, patience)
    finally:
        os.close(top)


async def _extract(extractor: Extractor, data: AsyncIterator[bytes], done: Sum, progress: Progress | None) -> None:
    from virtagent.service.streams import TypedStream  # noqa: PLC0415 - only where something comes

    reader = ArchiveReader(extractor)
    try:
        async with TypedStream.of(data) as chunks:
            async for chunk in chunks:
                await asyncio.to_thread(reader.feed, chunk)
                done.add(len(chunk), progress)
        reader.end()
        await asyncio.to_thread(extractor.complete)
    except ArchiveError as error:
        raise InvalidArgument(f"what the guest sent: {error}") from None
    except EOFError as error:
        raise DataLoss(f"what the guest sent: {error}") from None


class Sum:
    """Bytes of archives, over all attempts."""

    def __init__(self) -> None:
        self._bytes = 0

    def add(self, size: int, progress: Progress | None) -> None:
        """So many more."""
        self._bytes += size
        if progress is not None:
            progress(self._bytes, None)

    async def count(self, data: Generator[bytes, None, None], progress: Progress | None) -> AsyncIterator[bytes]:
        """The pieces of an archive, which is made in threads."""
        try:
            while (piece := await asyncio.to_thread(next, data, None)) is not None:
                yield piece
                self.add(len(piece), progress)
        finally:
            data.close()
