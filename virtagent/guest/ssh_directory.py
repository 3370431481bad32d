"""``~/.ssh`` of a user, changed by root without being led astray by that user: no name is looked up twice."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import subprocess
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from virtagent.errors import FailedPrecondition, NotFound
from virtagent.guest.os_errors import call_error

__all__ = ["Owner", "change_keys", "read_keys"]

T = TypeVar("T")

DIRECTORY = ".ssh"
FILE = "authorized_keys"
LARGEST = 1024 * 1024
"""Bytes of a file of keys."""

LABEL = "security.selinux"
SELINUX = "/sys/fs/selinux/enforce"


class Owner(NamedTuple):
    """Whose keys they are."""

    name: str
    uid: int
    gid: int
    home: str


def read_keys(owner: Owner) -> str:
    """The file's text; "" if there is none.

    Raises:
        NotFound: the home is missing.
        FailedPrecondition: something is a link, or another user's.
        CallError: what the system says.
    """
    with _directory(owner, make=False) as directory:
        return "" if directory is None else _read(owner, directory)


def change_keys(owner: Owner, change: Callable[[str], tuple[str, T]]) -> T:
    """Replace the file's text at once: whoever reads it sees the old or the new one.

    Args:
        change: makes the new text from the old one, and a result.

    Raises:
        As :func:`read_keys`, and what ``change`` raises; the file is as it was then.
    """
    old = read_keys(owner)
    new, result = change(old)
    if new == old:
        return result
    with _directory(owner, make=True) as directory:
        assert directory is not None
        # Again, from the directory that is written to: the first look was to have errors before anything is made.
        new, result = change(_read(owner, directory))
        _write(owner, directory, new)
    return result


@contextlib.contextmanager
def _directory(owner: Owner, *, make: bool) -> Iterator[int | None]:
    """``~/.ssh``, open; None if it is missing and is not to be made."""
    try:
        home = os.open(owner.home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"{owner.home}: the home of {owner.name} is missing") from None
    except OSError as error:
        raise call_error(owner.home, error) from None
    try:
        directory = _open_directory(owner, home, make=make)
        try:
            yield directory
        finally:
            if directory is not None:
                os.close(directory)
    except OSError as error:
        raise call_error(f"{owner.home}/{DIRECTORY}", error) from None
    finally:
        os.close(home)


def _open_directory(owner: Owner, home: int, *, make: bool) -> int | None:
    made = False
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(DIRECTORY, 0o700, dir_fd=home)
            made = True
    try:
        directory = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=home)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise FailedPrecondition(f"{owner.home}/{DIRECTORY} is no directory, or a link; it was left alone") from None
    try:
        if made:
            os.fchown(directory, owner.uid, owner.gid)
            _relabel(f"{owner.home}/{DIRECTORY}")
        found = os.fstat(directory)
        _check_owner(owner, found, f"{owner.home}/{DIRECTORY}")
        if make and found.st_uid == owner.uid and stat.S_IMODE(found.st_mode) != 0o700:
            os.fchmod(directory, 0o700)  # sshd ignores keys that others could have written (StrictModes)
    except BaseException:
        os.close(directory)
        raise
    return directory


def _check_owner(owner: Owner, found: os.stat_result, path: str) -> None:
    if found.st_uid not in (owner.uid, 0):
        raise FailedPrecondition(f"{path} belongs to another user (uid {found.st_uid}); it was left alone")


def _open_file(owner: Owner, directory: int) -> int | None:
    """The file of keys, open to be read. Nothing is read through it that the user could not have read."""
    path = f"{owner.home}/{DIRECTORY}/{FILE}"
    try:
        # Not to hang on a pipe that the user put there.
        file = os.open(FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        if stat.S_ISLNK(os.stat(FILE, dir_fd=directory, follow_symlinks=False).st_mode):
            raise FailedPrecondition(f"{path} is a link; it was left alone") from None
        raise call_error(path, error) from None
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise FailedPrecondition(f"{path} is no regular file; it was left alone")
        _check_owner(owner, found, path)
        if found.st_nlink != 1:  # perhaps a link to a file that the user may not read
            raise FailedPrecondition(f"{path} has {found.st_nlink} names; it was left alone")
        if found.st_size > LARGEST:
            raise FailedPrecondition(f"{path} has {found.st_size} bytes, more than {LARGEST}")
    except BaseException:
        os.close(file)
        raise
    return file


def _read(owner: Owner, directory: int) -> str:
    file = _open_file(owner, directory)
    if file is None:
        return ""
    with open(file, "rb") as opened:
        return os.fsdecode(opened.read(LARGEST))


def _label_of(owner: Owner, directory: int) -> bytes | None:
    file = _open_file(owner, directory)
    if file is None:
        return None
    try:
        return os.getxattr(file, LABEL)
    except OSError:
        return None  # no SELinux
    finally:
        os.close(file)


def _write(owner: Owner, directory: int, text: str) -> None:
    label = _label_of(owner, directory)
    name = f".{FILE}.{secrets.token_hex(8)}"
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        with open(file, "wb") as opened:
            opened.write(os.fsencode(text))
            opened.flush()
            os.fchown(file, owner.uid, owner.gid)
            os.fchmod(file, 0o600)
            if label is not None:
                os.setxattr(file, LABEL, label)
            os.fsync(file)
        os.rename(name, FILE, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=directory)
        raise
    os.fsync(directory)
    if label is None:
        _relabel(f"{owner.home}/{DIRECTORY}/{FILE}")


def _relabel(path: str) -> None:
    """Give a new file the label that the policy has for it, where SELinux is in force (restorecon(8))."""
    if os.path.exists(SELINUX):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(["restorecon", path], check=False, timeout=10, stdin=subprocess.DEVNULL, capture_output=True)
