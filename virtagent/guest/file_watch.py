"""Changes of files as they happen, by inotify(7): of one, or of a whole tree, which is followed as it grows."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from concurrent.futures import Executor
from contextlib import suppress
from typing import TYPE_CHECKING

from virtagent.api.file_types import Change, ChangeKind
from virtagent.errors import CallError, NotFound, ResourceExhausted, Unavailable
from virtagent.guest.file_roots import Roots
from virtagent.guest.openat2 import open_beneath
from virtagent.guest.os_errors import call_error
from virtagent.guest.readable import wait_readable
from virtagent.guest.watches import WatchStream, first_of

if TYPE_CHECKING:
    from asyncinotify import Event, Inotify

__all__ = ["WatchedFiles"]

MOST_DIRECTORIES = 65_536
"""Directories that one watch may have."""

SECOND_HALF = 0.02
"""Seconds in which the second half of a move may follow the first, which it nearly always does at once."""

ALWAYS = frozenset({"gone", "unmounted", "overflow"})

ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class WatchedFiles(WatchStream[Change]):
    """The changes below a path. Making it looks through the tree, and blocks.

    Args:
        roots: where may be read.
        path: what to watch.
        recursive: and all directories below.
        kinds: what to tell; None: all.
        executor: where looking at new directories blocks.

    Raises:
        CallError: it cannot be watched.
    """

    def __init__(
        self, roots: Roots, path: str, *, recursive: bool, kinds: list[ChangeKind] | None, executor: Executor
    ) -> None:
        try:
            from asyncinotify import Inotify, Mask  # noqa: PLC0415 - of an extra
        except ImportError:
            raise Unavailable("watching needs asyncinotify in the guest: install virtagent[guest]") from None
        super().__init__(executor)
        self._mask = Mask
        self._roots = roots
        self._path = path
        self._recursive = recursive
        self._kinds = None if kinds is None else ALWAYS.union(kinds)
        self._paths: dict[int, str] = {}
        self._moved: tuple[int, str, bool] | None = None
        self._inotify: Inotify | None = None
        try:
            self._inotify = Inotify(cache_size=64)
            os.set_blocking(self._inotify.fd, False)
            top = roots.open(path, os.O_PATH)
            try:
                found = os.fstat(top)
                self._add(self._inotify, top, ".")
            finally:
                os.close(top)
            self._identity = found.st_dev, found.st_ino
            self._is_directory = stat.S_ISDIR(found.st_mode)
            if recursive and self._is_directory:
                self._add_below(".", told=False)
        except OSError as error:
            self._drop()
            raise self._refusal(error) from None
        except BaseException:
            self._drop()
            raise

    def _refusal(self, error: OSError) -> CallError:
        if error.errno == errno.ENOSPC:
            return ResourceExhausted(
                f"{self._path}: the kernel has no more watches; raise the guest's sysctl fs.inotify.max_user_watches"
            )
        if error.errno == errno.EMFILE:
            return ResourceExhausted(
                f"{self._path}: no more inotify instances; raise the guest's sysctl fs.inotify.max_user_instances"
            )
        return call_error(self._path, error)

    def _open_top(self) -> int:
        """Open what is watched. It is not kept open: that would keep it from being deleted, and unmounted.

        Raises:
            OSError, CallError: it has gone, or its name is another's.
        """
        top = self._roots.open(self._path, os.O_PATH)
        found = os.fstat(top)
        if (found.st_dev, found.st_ino) != self._identity:
            os.close(top)
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return top

    def _add(self, inotify: Inotify, descriptor: int, path: str) -> None:
        if len(self._paths) >= MOST_DIRECTORIES:
            raise ResourceExhausted(f"{self._path}: more than {MOST_DIRECTORIES} directories; watch a part of it")
        mask = self._mask
        events = mask.CREATE | mask.MODIFY | mask.CLOSE_WRITE | mask.ATTRIB | mask.DELETE | mask.MOVE
        if path == ".":
            events |= mask.DELETE_SELF | mask.MOVE_SELF
        watch = inotify.add_watch(f"/proc/self/fd/{descriptor}", events)
        self._paths[watch.wd] = path

    def _add_below(self, path: str, *, told: bool) -> list[Change]:
        """Watch the directories below one that is watched; what is in them, if it is to be told. Blocks."""
        found: list[Change] = []
        waiting = [path]
        try:
            top = self._open_top()
        except (OSError, NotFound):
            return found  # it has gone, which is told next
        try:
            while waiting:
                here = waiting.pop()
                try:
                    descriptor = open_beneath(top, here, ENTER)
                except OSError as error:
                    if error.errno in (errno.EMFILE, errno.ENFILE):
                        raise
                    continue  # it has gone again, or may not be read: its directory tells
                try:
                    directories = self._look_into(descriptor, here, found if told else None)
                finally:
                    os.close(descriptor)
                waiting += directories
        finally:
            os.close(top)
        return found

    def _look_into(self, descriptor: int, here: str, found: list[Change] | None) -> list[str]:
        """Watch one directory; the directories in it."""
        if self._inotify is None:
            return []
        if here != ".":
            self._add(self._inotify, descriptor, here)
        directories: list[str] = []
        for name in os.listdir(descriptor):
            path = name if here == "." else f"{here}/{name}"
            with suppress(FileNotFoundError):
                is_directory = stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode)
                if found is not None:
                    found.append(Change(kind="created", path=path, directory=is_directory))
                if is_directory:
                    directories.append(path)
        return directories

    async def _take(self, stopped: asyncio.Event) -> None:
        inotify = self._inotify
        if inotify is None:
            self._ended = True
            return
        try:
            event = inotify.sync_get()
        except BlockingIOError:
            event = None
        if event is not None:
            await self._handle(event)
        else:
            waits = asyncio.ensure_future(wait_readable(inotify.fd)), asyncio.ensure_future(stopped.wait())
            if not await first_of(*waits, timeout=SECOND_HALF if self._moved is not None else None):
                self._no_second_half()

    async def _handle(self, event: Event) -> None:
        mask, bits = self._mask, event.mask
        if bits & mask.Q_OVERFLOW:
            self._no_second_half()
            self._tell("overflow", ".")
            if self._recursive and self._is_directory:
                await self._look_at(".", told=False)
            return
        watch = event.watch
        own = None if watch is None else self._paths.get(watch.wd)
        if watch is None or own is None:
            return
        if bits & mask.IGNORED:
            self._paths.pop(watch.wd, None)
            return
        if event.name is None:
            self._handle_itself(bits, own)
            return
        name = str(event.name)
        path = name if own == "." else f"{own}/{name}"
        await self._handle_name(bits, path, event.cookie)

    def _handle_itself(self, bits: int, path: str) -> None:
        """Something became of what is watched; of directories below, those that they are in tell."""
        if path != ".":
            return
        mask = self._mask
        if bits & mask.UNMOUNT:
            self._tell("unmounted", path)
            self._ended = True
        elif bits & (mask.DELETE_SELF | mask.MOVE_SELF):
            self._tell("gone", path)
            self._ended = True
        else:
            self._tell_of_content(bits, path)

    async def _handle_name(self, bits: int, path: str, cookie: int) -> None:
        mask = self._mask
        directory = bool(bits & mask.ISDIR)
        if bits & mask.MOVED_TO and self._moved is not None and self._moved[0] == cookie:
            source = self._moved[1]
            self._moved = None
            self._rename(source, path)
            self._tell("moved", path, source=source, directory=directory)
            return
        self._no_second_half()
        if bits & mask.MOVED_FROM:
            self._moved = (cookie, path, directory)
        elif bits & (mask.CREATE | mask.MOVED_TO):
            self._tell("created", path, directory=directory)
            if directory and self._recursive:
                await self._look_at(path, told=True)
        elif bits & mask.DELETE:
            self._tell("deleted", path, directory=directory)
        else:
            self._tell_of_content(bits, path, directory=directory)

    def _tell_of_content(self, bits: int, path: str, *, directory: bool = False) -> None:
        mask = self._mask
        if bits & mask.MODIFY:
            self._tell("modified", path)
        elif bits & mask.CLOSE_WRITE:
            self._tell("written", path)
        elif bits & mask.ATTRIB:
            self._tell("attributes", path, directory=directory)

    def _no_second_half(self) -> None:
        """What was moved went elsewhere: to those who watch here it is deleted."""
        if self._moved is None:
            return
        _, path, directory = self._moved
        self._moved = None
        if directory and self._recursive:
            below = {wd for wd, each in self._paths.items() if each == path or each.startswith(f"{path}/")}
            for watch in [] if self._inotify is None else self._inotify.watches:
                if watch.wd in below:
                    self._paths.pop(watch.wd, None)
                    with suppress(OSError):
                        self._inotify.rm_watch(watch)  # type: ignore[union-attr]
        self._tell("deleted", path, directory=directory)

    def _rename(self, source: str, target: str) -> None:
        for wd, each in self._paths.items():
            if each == source:
                self._paths[wd] = target
            elif each.startswith(f"{source}/"):
                self._paths[wd] = target + each[len(source) :]

    async def _look_at(self, path: str, *, told: bool) -> None:
        try:
            found = await self._visits.run(lambda: self._add_below(path, told=told))
        except OSError as error:
            self._error = self._refusal(error)
        except CallError as error:
            self._error = error
        else:
            for each in found:
                self._tell(each.kind, each.path, directory=each.directory)

    def _tell(self, kind: ChangeKind, path: str, *, source: str | None = None, directory: bool = False) -> None:
        if self._kinds is None or kind in self._kinds:
            self._items.append(Change(kind=kind, path=path, source=source, directory=directory))

    def _drop(self) -> None:
        self.closed = True
        inotify, self._inotify = self._inotify, None
        if inotify is not None:
            inotify.close()

    def __del__(self) -> None:
        if hasattr(self, "_inotify"):
            self._drop()
