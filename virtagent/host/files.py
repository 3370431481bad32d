"""Files of a guest, as host tooling uses them: copies that go on after a lost session, and trees."""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from virtagent.api.file_types import Extracted, FileStat, Written
from virtagent.api.files import Files
from virtagent.errors import AlreadyExists, FailedPrecondition, NotFound, SessionLost, VirtagentError
from virtagent.host.delegate import Delegate
from virtagent.peer.caller import Caller
from virtagent.service.streams import TypedStream
from virtagent.service.stub import stub

__all__ = ["GuestFiles", "Progress", "Source"]

Progress: TypeAlias = Callable[[int, "int | None"], None]
"""Called with the bytes that are done, which become fewer if a copy has to begin anew, and with all; None: unknown."""

Source: TypeAlias = "str | os.PathLike[str] | bytes | AsyncIterator[bytes]"
"""A local file's path, or content."""

CHUNK = 256 * 1024
"""Bytes that are read at a time."""

PATIENCE = 60.0
"""Seconds that a guest may take to come back after its session was lost."""

GIVING_UP = 5.0
"""Seconds that removing an upload in the guest may take when it is given up."""

if TYPE_CHECKING:
    _Base = Files
else:
    _Base = Delegate


class GuestFiles(_Base):
    """The methods of :class:`~virtagent.api.files.Files`, and copies between host and guest.

    A copy goes on by itself when the session is lost and comes back within ``patience`` seconds: what is there is
    verified by its checksum first. If it fails or is cancelled, nothing half-written is left on either side.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub = stub(Files, caller)

    def bulk(self) -> Files:
        """The same methods without a deadline, and after everything else that is to be sent."""
        with_options = getattr(self._caller, "with_options", None)
        if with_options is None:
            return self._stub
        return stub(Files, with_options(deadline=math.inf, priority="bulk"))

    async def back(self, error: SessionLost, patience: float) -> None:
        """Wait until the guest is back.

        Raises:
            SessionLost: the one that is given: it does not come back.
        """
        wait_ready = getattr(self._caller, "wait_ready", None)
        if wait_ready is None:
            raise error
        try:
            await wait_ready(timeout=patience)
        except VirtagentError:
            raise error from None

    # -- content -------------------------------------------------------------------------------------------------

    async def read_bytes(self, path: str, *, limit: int | None = 64 * 1024 * 1024) -> bytes:
        """The content of a file.

        Args:
            path: the file in the guest.
            limit: how many bytes to accept; None: any number.

        Raises:
            ResourceExhausted: there are more.
        """
        return await TypedStream.of(self._stub.read(path, chunk=CHUNK)).read_all(limit)

    async def read_text(self, path: str, *, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The content of a file as text."""
        return (await self.read_bytes(path)).decode(encoding, errors)

    async def write_bytes(self, path: str, data: bytes, **options: Any) -> Written:
        """Make or replace a file; see :meth:`put`."""
        return await self.put(data, path, **options)

    async def write_text(self, path: str, text: str, *, encoding: str = "utf-8", **options: Any) -> Written:
        """Make or replace a file; see :meth:`put`."""
        return await self.put(text.encode(encoding), path, **options)

    # -- copies --------------------------------------------------------------------------------------------------

    async def put(  # type: ignore[override]  # people give a file, not a stream
        self,
        source: Source,
        path: str,
        *,
        mode: int | None = None,
        user: str | None = None,
        group: str | None = None,
        mtime: int | None = None,
        preserve: bool = True,
        replace: bool = True,
        sync: bool = True,
        progress: Progress | None = None,
        patience: float = PATIENCE,
    ) -> Written:
        """Copy a local file, or bytes, to the guest; see :meth:`virtagent.api.files.Files.put`.

        Args:
            source: the path of a file, or bytes, or an async iterator of bytes, which cannot go on after a loss.
            path: where in the guest; a directory is refused.
            mode, user, group, mtime: what the file is to be like.
            preserve: take mode and time from the local file where they are not given.
            replace: False: fail with ``AlreadyExists`` if there is such a file.
            sync: bring it to the guest's disk.
            progress: is called as the copy goes on.
            patience: seconds that the guest may take to come back.

        Raises:
            OSError: the local file cannot be read.
            SessionLost: the guest did not come back in time.
            CallError: the guest refuses.
        """
        options: dict[str, Any] = {"user": user, "group": group, "replace": replace, "sync": sync}
        options = {key: value for key, value in options.items() if value is not None}
        if isinstance(source, (str, os.PathLike)):
            with await asyncio.to_thread(Path(source).open, "rb") as file:
                found = os.fstat(file.fileno())
                if preserve and stat.S_ISREG(found.st_mode):
                    mode = stat.S_IMODE(found.st_mode) & 0o777 if mode is None else mode
                    mtime = found.st_mtime_ns if mtime is None else mtime
                options |= {key: value for key, value in (("mode", mode), ("mtime", mtime)) if value is not None}
                if not stat.S_ISREG(found.st_mode):
                    return await self.bulk().put(path, _counted(_read(file), progress, None), **options)
                content = _FileContent(file)
                return await _Upload(self, content, path, options, progress, patience).run()
        options |= {key: value for key, value in (("mode", mode), ("mtime", mtime)) if value is not None}
        if isinstance(source, bytes):
            return await _Upload(self, _BytesContent(source), path, options, progress, patience).run()
        return await self.bulk().put(path, _counted(source, progress, None), **options)

    async def get(
        self,
        path: str,
        target: str | os.PathLike[str],
        *,
        mode: int | None = None,
        preserve: bool = True,
        replace: bool = True,
        progress: Progress | None = None,
        patience: float = PATIENCE,
    ) -> int:
        """Copy a file of the guest to a local one, which gets its name when it is complete; its size in bytes.

        Args:
            path: the file in the guest.
            target: the local file's path.
            mode: its permission bits.
            preserve: take mode and time from the guest's file.
            replace: False: fail with FileExistsError if there is such a file.
            progress: is called as the copy goes on.
            patience: seconds that the guest may take to come back.

        Raises:
            OSError: the local file cannot be written.
            SessionLost: the guest did not come back in time.
            CallError: the guest refuses.
        """
        target = Path(target)
        if target.is_dir():
            raise IsADirectoryError(21, "is a directory; name the file in it", str(target))
        if not replace and target.exists():
            raise FileExistsError(17, "is there already", str(target))
        temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(8)}.partial")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            found = await _Download(self, path, descriptor, progress, patience).run()
            os.fchmod(descriptor, (found.mode & 0o777 if preserve else 0o644) if mode is None else mode)
            if preserve and found.mtime is not None:
                os.utime(descriptor, ns=(found.mtime, found.mtime))
            size = os.fstat(descriptor).st_size
            temporary.rename(target)
            return size
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    async def put_tree(
        self,
        source: str | os.PathLike[str],
        path: str,
        *,
        ownership: bool = False,
        xattrs: bool = False,
        names: list[str] | None = None,
        progress: Progress | None = None,
        patience: float = PATIENCE,
    ) -> Extracted:
        """Copy what is in a local directory into one of the guest, which is made if it is not there.

        After a lost session only what differs is sent again; files of more than that are not gone on with.

        Args:
            source: the local directory.
            path: the directory in the guest.
            ownership: with the owners' numbers; else the agent's user owns everything.
            xattrs: with extended attributes.
            names: only these, relative to ``source``.
            progress: is called with the archive's bytes.
            patience: seconds that the guest may take to come back.

        Raises:
            as :meth:`put`.
        """
        from virtagent.host.trees import put_tree  # noqa: PLC0415 - single files do without

        return await put_tree(
            self,
            Path(source),
            path,
            ownership=ownership,
            xattrs=xattrs,
            names=names,
            progress=progress,
            patience=patience,
        )

    async def get_tree(
        self,
        path: str,
        target: str | os.PathLike[str],
        *,
        ownership: bool = False,
        xattrs: bool = False,
        privileges: bool = False,
        names: list[str] | None = None,
        progress: Progress | None = None,
        patience: float = PATIENCE,
    ) -> Extracted:
        """Copy what is in a directory of the guest into a local one, which is made if it is not there.

        What comes is not trusted: nothing outside of the local directory is written.

        Args:
            path: the directory in the guest.
            target: the local directory.
            ownership: with the owners' numbers, where this process may.
            xattrs: with extended attributes.
            privileges: with device nodes, set-user-ID bits and attributes such as capabilities, which give whom the
                guest chooses rights on this machine; only for what nobody here reaches, such as a root file system.
            names: only these, relative to ``path``.
            progress: is called with the archive's bytes.
            patience: seconds that the guest may take to come back.

        Raises:
            PermissionError: it has device nodes, and ``privileges`` is not given.
            DataLoss, InvalidArgument: what came is no archive, or would leave the directory.
            and as :meth:`get`.
        """
        from virtagent.host.trees import get_tree  # noqa: PLC0415 - single files do without

        return await get_tree(
            self,
            path,
            Path(target),
            ownership=ownership,
            xattrs=xattrs,
            privileges=privileges,
            names=names,
            progress=progress,
            patience=patience,
        )


class _BytesContent:
    """Content in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    async def read(self, offset: int) -> bytes:
        """The next piece."""
        return self._data[offset : offset + CHUNK]


class _FileContent:
    """Content of a local file."""

    def __init__(self, file: BinaryIO) -> None:
        self._descriptor = file.fileno()
        self.size = os.fstat(self._descriptor).st_size

    async def read(self, offset: int) -> bytes:
        """The next piece."""
        return await asyncio.to_thread(os.pread, self._descriptor, CHUNK, offset)


class _Upload:
    """One file on its way to the guest."""

    def __init__(
        self,
        files: GuestFiles,
        content: _BytesContent | _FileContent,
        path: str,
        options: dict[str, Any],
        progress: Progress | None,
        patience: float,
    ) -> None:
        self._files = files
        self._content = content
        self._path = path
        self._options = options
        self._progress = progress
        self._patience = patience
        self._token = secrets.token_hex(8)

    async def run(self) -> Written:
        """Send it, and go on as often as the session is lost and comes back."""
        offset = 0
        lost = False
        try:
            while True:
                try:
                    return await self._files.bulk().put(
                        self._path, self._pieces(offset), token=self._token, offset=offset, **self._options
                    )
                except SessionLost as error:
                    lost = True
                    await self._files.back(error, self._patience)
                except AlreadyExists:
                    written = await self._whole() if lost else None
                    if written is None:
                        raise
                    return written
                except FailedPrecondition:
                    if not offset:
                        raise
                    offset = 0  # what was there has been removed meanwhile
                    continue
                try:
                    written = await self._whole()
                    if written is not None:
                        await self._give_up()  # what is there was there before, and this is another beginning of it
                        return written
                    offset = await self._verified()
                except SessionLost as error:
                    await self._files.back(error, self._patience)
                    offset = 0
        except SessionLost:
            raise  # there is nobody to tell
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(self._give_up()))
            raise

    async def _pieces(self, offset: int) -> AsyncIterator[bytes]:
        if self._progress is not None:
            self._progress(offset, self._content.size)
        while data := await self._content.read(offset):
            yield data
            offset += len(data)
            if self._progress is not None:
                self._progress(offset, max(offset, self._content.size))

    async def _verified(self) -> int:
        """How much of it is there."""
        there = await self._files.bulk().partial(self._path, self._token)
        if 0 < there.size <= self._content.size and there.sha256 == await self._digest(there.size):
            return there.size
        return 0

    async def _whole(self) -> Written | None:
        """What is there if the session was lost after the last byte and before the answer."""
        bulk = self._files.bulk()
        try:
            found = await bulk.stat(self._path, follow=False)
            if found.kind != "file" or found.size != self._content.size:
                return None
            if "mtime" in self._options and found.mtime != self._options["mtime"]:
                return None
            digest = (await bulk.checksum(self._path)).digest
        except (NotFound, FailedPrecondition):
            return None
        if digest != await self._digest(self._content.size):
            return None
        return Written(size=found.size, written=found.size, inode=found.inode, mtime=found.mtime)

    async def _digest(self, size: int) -> str:
        import hashlib  # noqa: PLC0415 - loads OpenSSL, for what was lost

        digest, offset = hashlib.sha256(), 0
        while offset < size and (data := await self._content.read(offset)):
            digest.update(data[: size - offset])
            offset += len(data)
        return digest.hexdigest()

    async def _give_up(self) -> None:
        """Remove what is there; the guest does so by itself, later, if it cannot be told now."""
        with suppress(VirtagentError, TimeoutError):
            async with asyncio.timeout(GIVING_UP):
                await self._files.bulk().discard(self._path, self._token)


class _Download:
    """One file on its way from the guest into an open local one."""

    def __init__(
        self, files: GuestFiles, path: str, descriptor: int, progress: Progress | None, patience: float
    ) -> None:
        self._files = files
        self._path = path
        self._descriptor = descriptor
        self._progress = progress
        self._patience = patience
        self._offset = 0

    async def run(self) -> FileStat:
        """Receive it, and go on as often as the session is lost and comes back; what the file is like."""
        found = await self._files.stat(self._path)
        if found.kind == "directory":
            raise FailedPrecondition(f"{self._path}: is a directory; copy it as a tree")
        while True:
            try:
                await self._receive(found.size if found.kind == "file" else None)
                return found
            except SessionLost as error:
                if found.kind != "file":
                    raise
                await self._files.back(error, self._patience)
            try:
                now = await self._files.stat(self._path)
                if not _same(found, now) or not await self._verified():
                    self._offset = 0
                    os.ftruncate(self._descriptor, 0)
                found = now
            except SessionLost as error:
                await self._files.back(error, self._patience)
                self._offset = 0
                os.ftruncate(self._descriptor, 0)

    async def _receive(self, total: int | None) -> None:
        options: dict[str, Any] = {"offset": self._offset} if self._offset else {}
        async with TypedStream.of(self._files.bulk().read(self._path, chunk=CHUNK, **options)) as chunks:
            async for chunk in chunks:
                await asyncio.to_thread(_write_at, self._descriptor, chunk, self._offset)
                self._offset += len(chunk)
                if self._progress is not None:
                    self._progress(self._offset, None if not total else max(total, self._offset))

    async def _verified(self) -> bool:
        """Whether what has been received is what is there."""
        import hashlib  # noqa: PLC0415 - as above

        there = await self._files.bulk().checksum(self._path, length=self._offset)
        digest, at = hashlib.sha256(), 0
        while at < self._offset:
            data = await asyncio.to_thread(os.pread, self._descriptor, min(CHUNK, self._offset - at), at)
            digest.update(data)
            at += len(data)
        return there.size == self._offset and there.digest == digest.hexdigest()


def _same(before: FileStat, now: FileStat) -> bool:
    return (before.inode, before.device, before.size, before.mtime) == (now.inode, now.device, now.size, now.mtime)


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count


async def _read(file: BinaryIO) -> AsyncIterator[bytes]:
    """What a pipe or device gives."""
    while data := await asyncio.to_thread(os.read, file.fileno(), CHUNK):
        yield data


async def _counted(source: AsyncIterator[bytes], progress: Progress | None, total: int | None) -> AsyncIterator[bytes]:
    done = 0
    async for data in source:
        yield data
        done += len(data)
        if progress is not None:
            progress(done, total)
