"""Waiting for a file to appear, woken by the kernel (inotify(7), through ctypes: there is nothing in the stdlib)."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["DirectoryWatch", "wait_until"]

IN_ATTRIB, IN_MOVED_TO, IN_CREATE, IN_DELETE_SELF, IN_MOVE_SELF = 0x4, 0x80, 0x100, 0x400, 0x800
IN_ONLYDIR = 0x01000000
MASK = IN_ATTRIB | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR

Found = TypeVar("Found")


class DirectoryWatch:
    """Tells that something appeared in (or happened to) some directories. A context manager.

    Raises:
        OSError: the kernel has no inotify, or the user's instances are used up (fs.inotify.max_user_instances).
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def __enter__(self) -> DirectoryWatch:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def add(self, path: str) -> None:
        """Watch the nearest directory above ``path`` that exists. Adding one again changes nothing."""
        directory = os.path.dirname(os.path.abspath(path))
        while True:
            try:
                self._checked(self._libc.inotify_add_watch(self._fd, os.fsencode(directory), ctypes.c_uint32(MASK)))
            except FileNotFoundError:
                if directory == "/":
                    raise
                directory = os.path.dirname(directory)
            else:
                return

    async def changed(self) -> None:
        """Wait for the next event; all that are pending are consumed. Cancelling loses none."""
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        loop.add_reader(self._fd, woken.set)
        try:
            await woken.wait()
        finally:
            loop.remove_reader(self._fd)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, 65536):
                pass

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


async def wait_until(find: Callable[[], Found | None], near: Iterable[str], *, recheck: float | None = None) -> Found:
    """Wait until ``find()`` gives something; it is asked again whenever something appears near the given paths.

    Args:
        find: a quick look, such as ``lambda: path if os.path.exists(path) else None``.
        near: the paths whose directories, or the nearest existing ones above, are watched.
        recheck: seconds after which to look anyway, for what no directory tells.
    """
    paths = tuple(near)
    found = find()
    if found is not None:
        return found
    with DirectoryWatch() as watch:
        while True:
            for path in paths:
                watch.add(path)
            found = find()  # after the watches: nothing can appear unseen in between
            if found is not None:
                return found
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(recheck):
                    await watch.changed()
