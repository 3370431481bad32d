"""The service ``files``."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, TypeVar

from virtagent.api.file_types import (
    DEFAULT_CHUNK,
    Algorithm,
    Change,
    ChangeKinds,
    Checksum,
    ChunkSize,
    Depth,
    DiskUse,
    Entry,
    Extracted,
    FileStat,
    FileTime,
    Followed,
    Kinds,
    Lines,
    Mode,
    Most,
    Names,
    Owner,
    Partial,
    Path,
    Patterns,
    Removed,
    Size,
    Token,
    Written,
)
from virtagent.api.files import Files
from virtagent.guest.resources import GuestService, Resources
from virtagent.peer.context import Context
from virtagent.service.options import in_thread

if TYPE_CHECKING:
    from virtagent.guest.file_changes import Tree
    from virtagent.guest.file_roots import Roots
    from virtagent.guest.slices import SlicedWork
    from virtagent.guest.uploads import Uploads
    from virtagent.guest.watches import Watches

__all__ = ["FilesService"]

THREADS = 4
"""Reads and writes that may block at a time: a file system that hangs costs who uses it, not the agent."""

T = TypeVar("T")


class FilesService(GuestService, Files):
    """Works with the rights of the agent, below the roots of each peer. Modules are loaded by the first call."""

    def __init__(self, resources: Resources | None = None) -> None:
        super().__init__(resources)
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="virtagent-files")
        self._known_uploads: Uploads | None = None
        self._known_watches: Watches | None = None

    # -- what peers may reach ------------------------------------------------------------------------------------

    def _readable(self, ctx: Context | None) -> Roots:
        from virtagent.guest.file_roots import Roots  # noqa: PLC0415

        return Roots(self.resources.grants.of(ctx).read_roots, "read")

    def _writable(self, ctx: Context | None) -> Roots:
        from virtagent.guest.file_roots import Roots  # noqa: PLC0415

        return Roots(self.resources.grants.of(ctx).write_roots, "written")

    def _tree(self, ctx: Context | None) -> Tree:
        from virtagent.guest.file_changes import Tree  # noqa: PLC0415

        return Tree(self._writable(ctx), self.resources.frozen.check)

    def _sliced(self, source: Generator[T, None, None], *, most: int = 512) -> SlicedWork[T]:
        from virtagent.guest.slices import SlicedWork  # noqa: PLC0415

        return SlicedWork(source, self._executor, most=most)

    def _uploads(self) -> Uploads:
        if self._known_uploads is None:
            from virtagent.guest.uploads import Uploads  # noqa: PLC0415

            self._known_uploads = Uploads(self._executor)
            self.resources.on_stop(lambda reason, message: self._uploads().forget_all())
        return self._known_uploads

    def _watches(self) -> Watches:
        if self._known_watches is None:
            from virtagent.guest.watches import Watches  # noqa: PLC0415

            self._known_watches = Watches()
            self.resources.on_stop(lambda reason, message: self._watches().stop(message))
        return self._known_watches

    # -- reading -------------------------------------------------------------------------------------------------

    def read(
        self,
        path: Path,
        *,
        offset: Size = 0,
        length: Size | None = None,
        chunk: ChunkSize = DEFAULT_CHUNK,
        ctx: Context | None = None,
    ) -> AsyncIterator[bytes]:
        # A plain `def`: it runs in a thread, since open(2) may block, and its errors answer the call itself.
        from virtagent.guest.file_reader import open_for_reading  # noqa: PLC0415

        return open_for_reading(
            path, offset=offset, length=length, chunk=chunk, executor=self._executor, roots=self._readable(ctx)
        )

    @in_thread
    def stat(self, path: Path, *, follow: bool = True, ctx: Context | None = None) -> FileStat:
        from virtagent.guest.file_facts import file_stat  # noqa: PLC0415

        descriptor = self._readable(ctx).open(path, os.O_PATH | (0 if follow else os.O_NOFOLLOW))
        try:
            found = os.fstat(descriptor)
            return file_stat(found, os.readlink("", dir_fd=descriptor) if stat.S_ISLNK(found.st_mode) else None)
        finally:
            os.close(descriptor)

    def list(self, path: Path, *, ctx: Context | None = None) -> AsyncIterator[Entry]:
        from virtagent.guest.file_walk import list_directory  # noqa: PLC0415

        return _begun(self._sliced(list_directory(self._readable(ctx), path)))

    def tree(
        self,
        path: Path,
        *,
        depth: Depth = 4096,
        most: Most = 1_000_000,
        one_filesystem: bool = False,
        names: Patterns | None = None,
        kinds: Kinds | None = None,
        smallest: Size | None = None,
        largest: Size | None = None,
        newer: FileTime | None = None,
        older: FileTime | None = None,
        ctx: Context | None = None,
    ) -> AsyncIterator[Entry]:
        from virtagent.guest.file_walk import Filter, tree  # noqa: PLC0415

        wanted = Filter(names, kinds, smallest, largest, newer, older)
        found = tree(self._readable(ctx), path, depth=depth, most=most, one_filesystem=one_filesystem, wanted=wanted)
        return _begun(self._sliced(found))

    def glob(self, pattern: Path, *, most: Most = 100_000, ctx: Context | None = None) -> AsyncIterator[Entry]:
        from virtagent.guest.file_walk import glob  # noqa: PLC0415

        return _begun(self._sliced(glob(self._readable(ctx), pattern, most=most)))

    async def checksum(
        self,
        path: Path,
        *,
        algorithm: Algorithm = "sha256",
        offset: Size = 0,
        length: Size | None = None,
        ctx: Context | None = None,
    ) -> Checksum:
        from virtagent.guest.file_checksum import checksum  # noqa: PLC0415
        from virtagent.guest.slices import finish  # noqa: PLC0415

        work = checksum(self._readable(ctx), path, algorithm=algorithm, offset=offset, length=length)
        return next(each for each in await finish(self._sliced(work, most=64)) if each is not None)

    def disk_use(
        self, path: Path, *, depth: Depth = 0, one_filesystem: bool = True, ctx: Context | None = None
    ) -> AsyncIterator[DiskUse]:
        from virtagent.guest.file_walk import disk_use  # noqa: PLC0415

        return _begun(self._sliced(disk_use(self._readable(ctx), path, depth=depth, one_filesystem=one_filesystem)))

    def follow(
        self,
        path: Path,
        *,
        lines: Lines | None = 10,
        offset: Size | None = None,
        ctx: Context | None = None,
    ) -> AsyncIterator[Followed]:
        from virtagent.guest.file_follow import FollowedFile  # noqa: PLC0415

        made = FollowedFile(self._readable(ctx), path, lines=lines, offset=offset, executor=self._executor)
        return self._watches().add(made, ctx, self.resources.grants.of(ctx).watches)

    def watch(
        self,
        path: Path,
        *,
        recursive: bool = False,
        kinds: ChangeKinds | None = None,
        ctx: Context | None = None,
    ) -> AsyncIterator[Change]:
        # A plain `def`: looking through a tree blocks, and its errors answer the call itself.
        from virtagent.guest.file_watch import WatchedFiles  # noqa: PLC0415

        made = WatchedFiles(self._readable(ctx), path, recursive=recursive, kinds=kinds, executor=self._executor)
        return self._watches().add(made, ctx, self.resources.grants.of(ctx).watches)

    def archive(
        self,
        path: Path,
        *,
        names: Names | None = None,
        one_filesystem: bool = False,
        xattrs: bool = True,
        ctx: Context | None = None,
    ) -> AsyncIterator[bytes]:
        from virtagent.guest.file_archive import archive  # noqa: PLC0415

        made = archive(self._readable(ctx), path, names=names, one_filesystem=one_filesystem, xattrs=xattrs)
        return _begun(self._sliced(made, most=8))

    # -- writing -------------------------------------------------------------------------------------------------

    async def put(
        self,
        path: Path,
        data: AsyncIterator[bytes],
        *,
        token: Token | None = None,
        offset: Size = 0,
        mode: Mode | None = None,
        user: Owner | None = None,
        group: Owner | None = None,
        mtime: FileTime | None = None,
        replace: bool = True,
        sync: bool = True,
        ctx: Context | None = None,
    ) -> Written:
        from virtagent.guest.file_facts import group_id, user_id  # noqa: PLC0415
        from virtagent.guest.file_writer import Wanted  # noqa: PLC0415

        wanted = Wanted(mode, user_id(user), group_id(group), mtime, replace, sync)
        check = self.resources.frozen.check
        return await self._uploads().put(
            self._writable(ctx), path, data, token=token, offset=offset, wanted=wanted, check=check
        )

    @in_thread
    def partial(self, path: Path, token: Token, *, ctx: Context | None = None) -> Partial:
        from virtagent.guest.file_writer import look_at_partial  # noqa: PLC0415

        return look_at_partial(self._writable(ctx), path, token)

    async def discard(self, path: Path, token: Token, *, ctx: Context | None = None) -> None:
        await self._uploads().discard(self._writable(ctx), path, token, self.resources.frozen.check)

    async def append(
        self, path: Path, data: AsyncIterator[bytes], *, create: bool = True, ctx: Context | None = None
    ) -> Written:
        return await self._write_in_place(path, data, None, create, ctx)

    async def write(
        self,
        path: Path,
        data: AsyncIterator[bytes],
        *,
        offset: Size = 0,
        create: bool = False,
        ctx: Context | None = None,
    ) -> Written:
        return await self._write_in_place(path, data, offset, create, ctx)

    async def _write_in_place(
        self, path: str, data: AsyncIterator[bytes], offset: int | None, create: bool, ctx: Context | None
    ) -> Written:
        from virtagent.guest.file_writer import FileInPlace, receive  # noqa: PLC0415
        from virtagent.guest.slices import Visits  # noqa: PLC0415

        visits = Visits(self._executor)
        roots, check = self._writable(ctx), self.resources.frozen.check
        file = await visits.run(lambda: FileInPlace(roots, path, offset=offset, create=create, check=check))
        try:
            await receive(data, file.write, visits)
            return await visits.run(file.result)
        finally:
            await visits.close(file.close)

    async def extract(
        self,
        path: Path,
        data: AsyncIterator[bytes],
        *,
        ownership: bool = True,
        xattrs: bool = True,
        ctx: Context | None = None,
    ) -> Extracted:
        from virtagent.guest.file_archive import extract  # noqa: PLC0415

        return await extract(
            self._writable(ctx),
            path,
            data,
            self._tree(ctx),
            self._executor,
            ownership=ownership,
            xattrs=xattrs,
            check=self.resources.frozen.check,
        )

    # -- changing the tree ---------------------------------------------------------------------------------------

    @in_thread
    def mkdir(
        self,
        path: Path,
        *,
        mode: Mode = 0o755,
        parents: bool = False,
        exist_ok: bool = False,
        ctx: Context | None = None,
    ) -> None:
        self._tree(ctx).mkdir(path, mode, parents=parents, exist_ok=exist_ok)

    async def remove(
        self,
        path: Path,
        *,
        recursive: bool = False,
        missing_ok: bool = False,
        most: Most = 1_000_000,
        ctx: Context | None = None,
    ) -> Removed:
        count = 0
        work = self._sliced(self._tree(ctx).remove(path, recursive=recursive, missing_ok=missing_ok, most=most))
        try:
            async for each in work:
                count += each
        finally:
            await work.aclose()
        return Removed(files=count)

    @in_thread
    def rename(self, source: Path, target: Path, *, replace: bool = True, ctx: Context | None = None) -> None:
        self._tree(ctx).rename(source, target, replace=replace)

    @in_thread
    def link(
        self, path: Path, target: Path, *, symbolic: bool = False, replace: bool = False, ctx: Context | None = None
    ) -> None:
        self._tree(ctx).link(path, target, symbolic=symbolic, replace=replace)

    @in_thread
    def chmod(self, path: Path, mode: Mode, *, ctx: Context | None = None) -> None:
        self._tree(ctx).chmod(path, mode)

    @in_thread
    def chown(
        self,
        path: Path,
        *,
        user: Owner | None = None,
        group: Owner | None = None,
        follow: bool = True,
        ctx: Context | None = None,
    ) -> None:
        self._tree(ctx).chown(path, user, group, follow=follow)

    @in_thread
    def set_times(
        self,
        path: Path,
        *,
        mtime: FileTime,
        atime: FileTime | None = None,
        follow: bool = True,
        ctx: Context | None = None,
    ) -> None:
        self._tree(ctx).set_times(path, mtime, mtime if atime is None else atime, follow=follow)

    @in_thread
    def truncate(self, path: Path, size: Size, *, ctx: Context | None = None) -> None:
        self._tree(ctx).truncate(path, size)

    @in_thread
    def temporary(
        self,
        *,
        kind: Literal["file", "directory"] = "file",
        directory: Path = "/tmp",  # noqa: S108 - as in the interface
        prefix: str = "virtagent-",
        suffix: str = "",
        ctx: Context | None = None,
    ) -> str:
        return self._tree(ctx).temporary(directory, prefix, suffix, is_directory=kind == "directory")


def _begun(work: SlicedWork[T]) -> SlicedWork[T]:
    """Work whose first error answers the call itself, instead of ending its stream.

    Its methods are plain ``def``, and run in threads.
    """
    work.begin()
    return work
