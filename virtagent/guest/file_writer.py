"""Writing files: a new content in one step, or in place; each in short visits to threads."""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import NamedTuple

from virtagent.api.file_types import Partial, Written
from virtagent.errors import AlreadyExists, CallError, FailedPrecondition, VirtagentError
from virtagent.guest.file_roots import Roots
from virtagent.guest.os_errors import call_error
from virtagent.guest.slices import Visits

__all__ = ["FileInPlace", "NewFile", "Wanted", "discard_partial", "look_at_partial", "partial_name", "receive"]

BATCH = 1024 * 1024
"""Bytes that wait for the disk before their stream is held up."""

LONGEST_NAME = 255
"""Bytes of a file's name (NAME_MAX)."""

DEFAULT_MODE = 0o644


class Wanted(NamedTuple):
    """What a new file is to be like; None (and -1): see :meth:`virtagent.api.files.Files.put`."""

    mode: int | None = None
    uid: int = -1
    gid: int = -1
    mtime: int | None = None
    replace: bool = True
    sync: bool = True


def partial_name(name: str, token: str) -> str:
    """The name of the temporary file for a file's new content, in the same directory."""
    room = LONGEST_NAME - len(token) - len("..") - len(".partial")
    return f".{os.fsdecode(os.fsencode(name)[:room])}.{token}.partial"


class NewFile:
    """A file's new content in a temporary file, which takes the file's place once it is whole. All methods block.

    Args:
        roots: where may be written.
        path: the file.
        token: of an upload that may go on later; None: none.
        offset: where it goes on; 0: anew.
        wanted: what the file is to be like.
        check: raises if the file system, given its ``st_dev``, must not be written to now.

    Attributes:
        token: the upload's, or one of its own.
        written: bytes that were written.

    Raises:
        CallError: the temporary file cannot be made, or is shorter than ``offset``.
    """

    def __init__(
        self,
        roots: Roots,
        path: str,
        *,
        wanted: Wanted,
        check: Callable[[int], None],
        token: str | None = None,
        offset: int = 0,
    ) -> None:
        self._path = path
        self._wanted = wanted
        self._everywhere = roots.everywhere
        if wanted.mode is not None:
            roots.check_mode(path, wanted.mode)
        self._check = check
        self._directory, self._name = roots.open_parent(path)
        self._keeps = token is not None
        self.token = token or secrets.token_hex(8)
        self._temporary = partial_name(self._name, self.token)
        self._descriptor = -1
        self.written = 0
        try:
            self._device = os.fstat(self._directory).st_dev
            check(self._device)
            self._refuse_what_is_there()
            self._open(offset)
        except OSError as error:
            self.close(keep=False)
            raise call_error(path, error) from None
        except BaseException:
            self.close(keep=True)
            raise

    def _refuse_what_is_there(self) -> None:
        with suppress(FileNotFoundError):
            found = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                raise FailedPrecondition(f"{self._path}: is a directory; name the file in it")
            if not self._wanted.replace:
                raise AlreadyExists(f"{self._path}: is there already; allow replacing it, or choose another name")

    def _open(self, offset: int) -> None:
        flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        if not offset:
            with suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._directory)
            self._descriptor = os.open(self._temporary, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._directory)
            return
        found = _open_partial(self._directory, self._temporary, os.O_WRONLY)
        if found is None or found[1] < offset:
            have = 0 if found is None else found[1]
            if found is not None:
                os.close(found[0])
            raise FailedPrecondition(f"{self._path}: {have} bytes of that upload are there, not {offset}; begin anew")
        self._descriptor = found[0]
        os.ftruncate(self._descriptor, offset)
        os.lseek(self._descriptor, offset, os.SEEK_SET)

    def write(self, pieces: list[bytes]) -> None:
        """Write all of them.

        Raises:
            CallError: it fails; the upload cannot go on.
        """
        self._check(self._device)
        try:
            self.written += _write_all(self._descriptor, pieces)
        except OSError as error:
            self._keeps = False
            raise call_error(self._path, error) from None

    def commit(self) -> Written:
        """Give the file its name.

        Raises:
            CallError: it fails; the temporary file is left to :meth:`close`.
        """
        try:
            self._check(self._device)
            self._take_after()
            found = os.fstat(self._descriptor)
            self._check(self._device)
            if self._wanted.sync:
                os.fsync(self._descriptor)
            self._rename()
            if self._wanted.sync:
                self._sync_directory()
        except OSError as error:
            self._keeps = False
            raise call_error(self._path, error) from None
        finally:
            self._drop_descriptor()
        return Written(
            size=found.st_size,
            written=self.written,
            inode=found.st_ino,
            mtime=found.st_mtime_ns if self._wanted.mtime is None else self._wanted.mtime,
        )

    def _take_after(self) -> None:
        """Mode, owner and time: those that are wanted, else those of the file that is replaced."""
        wanted, mode, old_uid, old_gid = self._wanted, DEFAULT_MODE, -1, -1
        with suppress(FileNotFoundError):
            old = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
            if stat.S_ISREG(old.st_mode):
                mode, old_uid, old_gid = stat.S_IMODE(old.st_mode), old.st_uid, old.st_gid
                if not self._everywhere:
                    mode &= ~(stat.S_ISUID | stat.S_ISGID)  # the content is another one
        if (wanted.uid, wanted.gid) != (-1, -1):
            os.fchown(self._descriptor, wanted.uid, wanted.gid)
        with suppress(PermissionError):
            os.fchown(self._descriptor, -1 if wanted.uid >= 0 else old_uid, -1 if wanted.gid >= 0 else old_gid)
        os.fchmod(self._descriptor, mode if wanted.mode is None else wanted.mode)
        if wanted.mtime is not None:
            os.utime(self._descriptor, ns=(wanted.mtime, wanted.mtime))

    def _rename(self) -> None:
        if self._wanted.replace:
            os.rename(self._temporary, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            return
        os.link(
            self._temporary,
            self._name,
            src_dir_fd=self._directory,
            dst_dir_fd=self._directory,
            follow_symlinks=False,
        )
        os.unlink(self._temporary, dir_fd=self._directory)

    def _sync_directory(self) -> None:
        directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._directory)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _is_frozen(self) -> bool:
        try:
            self._check(os.fstat(self._directory).st_dev)
        except CallError:
            return True
        return False

    def _drop_descriptor(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def close(self, *, keep: bool) -> bool:
        """Be done; whether the temporary file is left.

        Args:
            keep: leave it for the upload to go on, if it has a token and writing did not fail. On a frozen file system
                it is left in any case: unlink(2) would wait for the thaw, even for a file that is not there.
        """
        if self._directory < 0:
            return False
        kept = (keep and self._keeps) or self._is_frozen()
        self._drop_descriptor()
        try:
            if not kept:
                with suppress(OSError):
                    os.unlink(self._temporary, dir_fd=self._directory)
        finally:
            os.close(self._directory)
            self._directory = -1
        return kept


def look_at_partial(roots: Roots, path: str, token: str) -> Partial:
    """What is there of an upload; blocks while it is read."""
    import hashlib  # noqa: PLC0415 - loads OpenSSL

    digest, size = hashlib.sha256(), 0
    with roots.parent(path) as (directory, name):
        try:
            found = _open_partial(directory, partial_name(name, token), os.O_RDONLY)
            if found is not None:
                with os.fdopen(found[0], "rb", buffering=0) as file:
                    while data := file.read(BATCH):
                        digest.update(data)
                        size += len(data)
        except OSError as error:
            raise call_error(path, error) from None
    return Partial(size=size, sha256=digest.hexdigest())


def discard_partial(roots: Roots, path: str, token: str, check: Callable[[int], None]) -> None:
    """Remove what is there of an upload.

    Raises:
        FailedPrecondition: the file system is frozen.
    """
    with roots.parent(path) as (directory, name):
        check(os.fstat(directory).st_dev)
        try:
            found = _open_partial(directory, partial_name(name, token), os.O_RDONLY)
            if found is not None:
                os.close(found[0])
                os.unlink(partial_name(name, token), dir_fd=directory)
        except OSError as error:
            raise call_error(path, error) from None


def _open_partial(directory: int, name: str, flags: int) -> tuple[int, int] | None:
    """An upload's temporary file and its size, if it is there and nobody else made it."""
    try:
        descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_uid != os.geteuid():
        os.close(descriptor)
        return None
    return descriptor, found.st_size


class FileInPlace:
    """A file that is written to where it is. All methods block.

    Args:
        offset: where to begin; None: at its end, wherever that is at each write.
    """

    def __init__(
        self, roots: Roots, path: str, *, offset: int | None, create: bool, check: Callable[[int], None]
    ) -> None:
        self._path = path
        self._check = check
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | (os.O_APPEND if offset is None else 0)
        if create:
            with roots.parent(path) as (directory, _):
                check(os.fstat(directory).st_dev)
        self._descriptor = roots.open(path, flags | (os.O_CREAT if create else 0), DEFAULT_MODE)
        self.written = 0
        try:
            found = os.fstat(self._descriptor)
            self._device = found.st_dev
            check(self._device)
            if not stat.S_ISREG(found.st_mode):
                os.set_blocking(self._descriptor, True)
            if offset:
                os.lseek(self._descriptor, offset, os.SEEK_SET)
        except OSError as error:
            self.close()
            raise call_error(path, error) from None
        except BaseException:
            self.close()
            raise

    def write(self, pieces: list[bytes]) -> None:
        """Write all of them.

        Raises:
            CallError: it fails; what was written before stays.
        """
        self._check(self._device)
        try:
            self.written += _write_all(self._descriptor, pieces)
        except OSError as error:
            raise call_error(self._path, error) from None

    def result(self) -> Written:
        """What the file is now."""
        found = os.fstat(self._descriptor)
        return Written(size=found.st_size, written=self.written, inode=found.st_ino, mtime=found.st_mtime_ns)

    def close(self) -> None:
        """Close it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _write_all(descriptor: int, pieces: list[bytes]) -> int:
    """Write until everything is written: write(2) may take less."""
    total = 0
    views = [memoryview(each) for each in pieces if each]
    while views:
        count = os.writev(descriptor, views[:512])
        total += count
        while views and count >= len(views[0]):
            count -= len(views.pop(0))
        if count:
            views[0] = views[0][count:]
    return total


async def receive(data: AsyncIterator[bytes], write: Callable[[list[bytes]], None], visits: Visits) -> None:
    """Have everything written that a stream brings; while a thread writes, what comes gathers, up to a bound.

    Raises:
        CallError: writing failed.
        VirtagentError: the stream failed; what it brought before has been written.
    """
    try:
        await _receive(data, write, visits)
    finally:
        aclose = getattr(data, "aclose", None)
        if aclose is not None:
            await aclose()


async def _receive(data: AsyncIterator[bytes], write: Callable[[list[bytes]], None], visits: Visits) -> None:
    pieces: list[bytes] = []
    size = 0
    writing: asyncio.Future[None] | None = None
    failure: VirtagentError | None = None
    try:
        async for piece in data:
            pieces.append(piece)
            size += len(piece)
            if writing is not None:
                if not writing.done() and size < BATCH:
                    continue
                await asyncio.shield(writing)
            writing = visits.begin(write, pieces)
            pieces, size = [], 0
    except VirtagentError as error:
        failure = error
    if writing is not None:
        await asyncio.shield(writing)
    if pieces:
        await visits.run(write, pieces)
    if failure is not None:
        raise failure
