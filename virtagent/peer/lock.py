"""An advisory lock beside a host-side unix socket that serves one program at a time: it names who holds it.

QEMU's chardev sockets accept a second client and never serve it; with this lock the second one is told at once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakSet

from virtagent.errors import ChannelBusy, ChannelUnavailable

__all__ = ["ChannelLock"]

TRIES = 20
"""Others may look at the lock, which holds it for an instant; with PAUSE between the tries this is 20 ms."""

PAUSE = 0.001

LONGEST = 512
"""Bytes read of a lock file, and written to it: whatever is in there came from another program."""

LONGEST_PROGRAM = 80

NOT_HERE = {errno.EACCES, errno.EPERM, errno.EROFS}
"""Errors that say: no lock can be kept in this directory by this user."""

_held: WeakSet[ChannelLock] = WeakSet()


@dataclass(frozen=True, slots=True)
class Holder:
    """What a lock file tells of its holder."""

    pid: int
    since: float
    program: str

    def pack(self) -> bytes:
        return f"{self.pid}\n{self.since:.0f}\n{self.program}\n".encode("utf-8", "backslashreplace")[:LONGEST]

    @classmethod
    def unpack(cls, data: bytes) -> Holder | None:
        """None where it is not what :meth:`pack` makes."""
        lines = data.decode("utf-8", "replace").split("\n")
        if len(lines) < 3 or not all(line.isascii() and line.isdigit() and len(line) < 12 for line in lines[:2]):
            return None
        return cls(int(lines[0]), float(lines[1]), printable(lines[2]))

    def __str__(self) -> str:
        program = "this process" if self.pid == os.getpid() else self.program
        at = time.localtime(self.since)
        recent = time.time() - self.since < 86400
        return f"pid {self.pid} ({program}) since {time.strftime('%H:%M' if recent else '%Y-%m-%d %H:%M', at)}"


class ChannelLock:
    """The lock of one socket, ``PATH.lock``; where its directory is not writable, a file in a directory of this user.

    It is a ``flock(2)``: it goes with its process, so a file that a dead one left is no obstacle. Whoever holds the
    lock removes the file on release; whoever got the lock of a file that is no longer at its path tries again, so a
    file that another program may have locked is never removed. Programs of users who cannot both write beside the
    socket do not see each other's locks.

    Args:
        path: the socket's path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        given = os.fspath(path)
        self._given = given if given.startswith("/") else os.path.abspath(given)
        self._file: int | None = None
        self._path = ""

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def holder(self) -> str | None:
        """Who holds the lock ("pid 4711 (virtagent dmesg -f) since 12:03"), or None; it may be this object."""
        for path in self._places(existing=True):
            if not os.access(path, os.F_OK):  # nothing is raised where there is nothing, as is usual
                continue
            try:
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return described(file)
            finally:
                os.close(file)
        return None

    def check(self) -> None:
        """Raise if another program holds the lock.

        Raises:
            ChannelBusy: it does; the message names it.
        """
        if not self.held and (holder := self.holder()) is not None:
            raise self._busy(holder)

    def acquire(self) -> None:
        """Take the lock; a no-op if this object holds it.

        Raises:
            ChannelBusy: another program holds it; the message and ``holder`` name it.
            ChannelUnavailable: no lock file can be made; the message says why.
        """
        if self.held:
            return
        for number, path in enumerate(self._places()):
            for attempt in range(TRIES):
                if attempt:
                    time.sleep(PAUSE)
                file = self._open(path, private=number > 0)
                if file is None:
                    break
                if self._lock(file, path):
                    return
            else:
                raise self._busy(self.holder() or "another program")
        raise ChannelUnavailable(f"unix:{self._real()}: no lock file can be made, neither beside it nor in /tmp")

    def release(self) -> None:
        """Give the lock back, and remove its file; a no-op if this object does not hold it."""
        file, self._file = self._file, None
        if file is not None:
            _held.discard(self)
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            os.close(file)

    def _busy(self, holder: str) -> ChannelBusy:
        return ChannelBusy(f"unix:{self._real()} is held by {holder}; end it or wait", holder=holder)

    def _real(self) -> str:
        return os.path.realpath(self._given)

    def _places(self, *, existing: bool = False) -> Iterator[str]:
        """Where the lock file may be: beside the socket, then in this user's directory, if that is wanted or exists.

        Every connection looks there, so that the real path, a system call for each part of it, is asked for when it
        differs or is part of the name.
        """
        yield f"{self._real() if os.path.islink(self._given) else self._given}.lock"
        directory = private_directory()
        if not existing or os.access(directory, os.F_OK):
            socket = self._real()
            name = hashlib.blake2b(os.fsencode(socket), digest_size=12).hexdigest()
            yield f"{directory}/{os.path.basename(socket)[:64]}.{name}.lock"

    def _open(self, path: str, *, private: bool) -> int | None:
        """The lock file, made if need be; None where there can be none."""
        try:
            if private:
                make_private(Path(path).parent)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        except ChannelUnavailable:  # an OSError too
            raise
        except OSError as error:
            if error.errno in NOT_HERE or error.errno == errno.ENOENT:
                return None
            raise ChannelUnavailable(f"the lock file {path} cannot be opened: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise ChannelUnavailable(f"the lock file {path} is no plain file; move it away")
        return file

    def _lock(self, file: int, path: str) -> bool:
        """Lock the open file and write who we are; False (and closed) where it is locked, or no longer at its path."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            here, there = os.fstat(file), os.lstat(path)
            if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
                raise FileNotFoundError(path)
            content = Holder(os.getpid(), time.time(), program()).pack()
            os.ftruncate(file, 0)
            os.pwrite(file, content, 0)
        except (BlockingIOError, FileNotFoundError):
            os.close(file)
            return False
        except BaseException:
            os.close(file)
            raise
        self._file, self._path = file, path
        _held.add(self)
        return True

    def _forget_in_child(self) -> None:
        """After a fork the lock stays the parent's: closing here does not unlock it (flock(2))."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _after_fork() -> None:
    for lock in list(_held):
        lock._forget_in_child()
    _held.clear()


os.register_at_fork(after_in_child=_after_fork)


def described(file: int) -> str:
    """Who holds an open lock file, as far as it tells."""
    holder = Holder.unpack(os.pread(file, LONGEST, 0))
    return "another program" if holder is None else str(holder)


def program() -> str:
    """This process's command line, for people."""
    words = [os.path.basename(sys.argv[0]) or "python", *sys.argv[1:]] if sys.argv else ["python"]
    return printable(" ".join(words))


def printable(text: str) -> str:
    """One short line without control characters."""
    return "".join(each if each.isprintable() else "?" for each in text)[:LONGEST_PROGRAM]


def private_directory() -> str:
    """Where this user's locks are kept that cannot be beside their sockets."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        return f"{runtime}/virtagent/locks"
    return f"/tmp/virtagent-{os.getuid()}"  # noqa: S108 - checked by make_private()


def make_private(directory: Path) -> None:
    """Make a directory that only this user may enter, or check that an existing one is so.

    Raises:
        ChannelUnavailable: it belongs to another, or is no directory.
        OSError: it cannot be made.
    """
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    info = os.lstat(directory)
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise ChannelUnavailable(f"{directory} must be a directory of yours with mode 0700; move it away")
