"""Opening what lies below a directory, and nothing else, whatever links and renames there are (openat2(2))."""

from __future__ import annotations

import errno
import os
from functools import cache
from typing import Any

__all__ = ["open_beneath", "open_directly", "walk_beneath"]

SYSTEM_CALL = 437
"""openat2, on every architecture of Linux but Alpha."""

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_BENEATH = 0x08

MOST_LINKS = 40
"""Links in one path, as path_resolution(7) has it."""

RETRIES = 64
"""openat2 answers EAGAIN if something was renamed while it resolved a ``..``."""


def open_beneath(directory: int, path: str, flags: int, mode: int = 0) -> int:
    """Open a path relative to a directory, and below it; the new descriptor.

    Args:
        directory: an open directory.
        path: relative; ``..`` and links may lead anywhere below the directory.
        flags, mode: of open(2).

    Raises:
        OSError: of open(2); EXDEV: it would leave the directory, or has an absolute link.
    """
    openat2 = _system_call()
    if openat2 is None:
        return walk_beneath(directory, path, flags, mode)
    for _ in range(RETRIES):
        number: int = openat2(directory, os.fsencode(path) or b".", flags | os.O_CLOEXEC, mode)
        if number != -errno.EAGAIN:
            break
    if number < 0:
        raise OSError(-number, os.strerror(-number))
    return number


def open_directly(path: str, flags: int) -> int:
    """Open an absolute path, none of whose components may be a link; the new descriptor.

    Raises:
        OSError: of open(2); ENOTDIR or ELOOP: there is a link.
    """
    way = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    current = os.open("/", way)
    try:
        names = [each for each in path.split("/") if each]
        for name in names:
            above, current = current, os.open(name, way, dir_fd=current)
            os.close(above)
        return os.open(".", flags | os.O_CLOEXEC, dir_fd=current)
    finally:
        os.close(current)


@cache
def _system_call() -> Any:
    """A function that makes the system call, and gives a descriptor or a negative errno; None: the kernel lacks it."""
    try:
        import ctypes  # noqa: PLC0415 - only a peer with roots needs it

        call = ctypes.CDLL(None, use_errno=True).syscall
    except (ImportError, OSError, AttributeError):
        return None

    class OpenHow(ctypes.Structure):
        _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]

    size = ctypes.c_size_t(ctypes.sizeof(OpenHow))

    def openat2(directory: int, path: bytes, flags: int, mode: int) -> int:
        if not flags & os.O_CREAT:
            mode = 0
        how = OpenHow(flags, mode, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
        number: int = call(
            ctypes.c_long(SYSTEM_CALL), ctypes.c_int(directory), ctypes.c_char_p(path), ctypes.byref(how), size
        )
        return number if number >= 0 else -ctypes.get_errno()

    # A sandbox may refuse it with any error.
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        number = openat2(root, b".", os.O_PATH | os.O_CLOEXEC, 0)
    finally:
        os.close(root)
    if number < 0:
        return None
    os.close(number)
    return openat2


def walk_beneath(directory: int, path: str, flags: int, mode: int = 0) -> int:
    """The same where the kernel has no openat2(2): component by component, following links itself.

    Each component is opened with O_NOFOLLOW relative to the one before, and ``..`` goes back to a directory that was
    opened on the way: a rename meanwhile cannot lead outside.
    """
    opened: list[int] = []
    pending = path.split("/")[::-1]
    links = 0
    if path.startswith("/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    try:
        while pending:
            name = pending.pop()
            current = opened[-1] if opened else directory
            if name in ("", "."):
                continue
            if name == "..":
                if not opened:
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
                os.close(opened.pop())
                continue
            last = all(each in ("", ".") for each in pending)
            target = None if last and flags & os.O_NOFOLLOW and not pending else _link_target(name, current)
            if target is not None:
                links += 1
                if links > MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if target.startswith("/"):
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
                pending += target.split("/")[::-1]
            elif last:
                must_be_directory = os.O_DIRECTORY if pending else 0
                return os.open(name, flags | must_be_directory | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=current)
            else:
                way = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                opened.append(os.open(name, way, dir_fd=current))
        return os.open(".", flags & ~os.O_CREAT | os.O_CLOEXEC, dir_fd=opened[-1] if opened else directory)
    finally:
        for each in opened:
            os.close(each)


def _link_target(name: str, directory: int) -> str | None:
    """Where a symbolic link leads; None: it is none, or is not there."""
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise
