"""How full local filesystems are, without ever waiting for one that does not answer."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias

from virtagent.api.stats import FilesystemUse
from virtagent.guest.mounts import Mount, by_filesystem, read_mounts

__all__ = ["FilesystemUses", "local_mounts"]

Answers: TypeAlias = "dict[str, os.statvfs_result | OSError]"

PATIENCE = 1.0
"""Seconds that one filesystem may take to answer; a local one takes microseconds."""

MOST = 256
"""Filesystems that are told of."""

MOST_STUCK = 8
"""Threads that may wait for filesystems which do not answer; with so many, no other one is asked."""


def local_mounts(mounts: Iterable[Mount]) -> list[Mount]:
    """The mounts to tell of: one for each filesystem, no network filesystems, none that keep no data."""
    return [
        places[0]
        for places in by_filesystem(each for each in mounts if not each.is_network and not each.is_kernel).values()
    ][:MOST]


class FilesystemUses:
    """Asks filesystems in threads of their own, and leaves those alone that have not answered yet.

    Args:
        statvfs: asks one.
        patience: seconds that one may take.
    """

    def __init__(self, statvfs: Callable[[str], os.statvfs_result] = os.statvfs, *, patience: float = PATIENCE) -> None:
        self._statvfs = statvfs
        self._patience = patience
        self._stuck: dict[str, Turn] = {}
        self._lock = threading.Lock()

    def read(self, mounts: Iterable[Mount] | None = None) -> dict[str, FilesystemUse]:
        """The filesystems by mount point. It takes as long as each new one that does not answer may take.

        Args:
            mounts: None: those of this machine.

        Raises:
            OSError: /proc is not there.
        """
        wanted = local_mounts(read_mounts() if mounts is None else mounts)
        with self._lock:
            answers = self._ask([each.mountpoint for each in wanted])
        found = {}
        for each in wanted:
            told = answers.get(each.mountpoint)
            if not isinstance(told, OSError):
                found[each.mountpoint] = _use(each, told)
        return found

    def _ask(self, points: list[str]) -> Answers:
        """Answers, and errors, of those that answered in time."""
        self._stuck = {point: turn for point, turn in self._stuck.items() if not turn.over}
        answers: Answers = {}
        waiting = [each for each in points if each not in self._stuck]
        while waiting and len(self._stuck) < MOST_STUCK:
            turn = Turn(waiting, self._statvfs, answers)
            # A daemon thread: it must not keep the agent from ending.
            threading.Thread(target=turn.run, name="virtagent-statvfs", daemon=True).start()
            hanging = turn.wait(self._patience)
            if hanging is None:
                break
            self._stuck[hanging] = turn
            waiting = waiting[waiting.index(hanging) + 1 :]
        return answers


class Turn:
    """One thread's work: filesystems one after the other, until it is given up.

    Attributes:
        over: the thread has come to its end.
    """

    def __init__(self, points: list[str], statvfs: Callable[[str], os.statvfs_result], answers: Answers) -> None:
        self._points = points
        self._statvfs = statvfs
        self._answers = answers
        self._progress = threading.Condition()
        self._done = 0
        self._given_up = False
        self.over = False

    def run(self) -> None:
        """Ask them all."""
        for point in self._points:
            told: os.statvfs_result | OSError
            try:
                told = self._statvfs(point)
            except OSError as error:
                told = error
            with self._progress:
                if self._given_up:
                    break
                self._answers[point] = told
                self._done += 1
                self._progress.notify()
        self.over = True

    def wait(self, patience: float) -> str | None:
        """Wait as long as it goes on. None: all have answered; else the one that does not, at which it is given up."""
        with self._progress:
            while self._done < len(self._points):
                before = self._done
                self._progress.wait_for(partial(self._goes_on, before), patience)
                if self._done == before:
                    self._given_up = True
                    return self._points[before]
            return None

    def _goes_on(self, before: int) -> bool:
        return self._done > before


def _use(mount: Mount, told: os.statvfs_result | None) -> FilesystemUse:
    if told is None:
        return FilesystemUse(source=mount.source, kind=mount.type, answers=False)
    unit = told.f_frsize or told.f_bsize
    used = told.f_blocks - told.f_bfree
    theirs = used + told.f_bavail
    return FilesystemUse(
        source=mount.source,
        kind=mount.type,
        total=told.f_blocks * unit,
        used=used * unit,
        available=told.f_bavail * unit,
        inodes=told.f_files or None,
        inodes_free=told.f_ffree if told.f_files else None,
        percent=round(100 * used / theirs, 1) if theirs else None,
        read_only=bool(told.f_flag & os.ST_RDONLY),
    )
