"""Filesystems whose server may not answer: which there are, and looking at them without holding up anybody else."""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from virtagent.errors import ResourceExhausted
from virtagent.guest.mounts import MOUNTINFO, read_mounts

__all__ = ["MOST_LOOKS", "NetworkMounts"]

Found = TypeVar("Found")

MOST_LOOKS = 32
"""Threads that look at once; with so many that do not come back, others wait for as long as their call allows."""


class NetworkMounts:
    """Knows the mounted network filesystems, and FUSE's.

    Args:
        path: the list of mounts.
    """

    def __init__(self, path: Path = MOUNTINFO) -> None:
        self._descriptor: int | None = None
        self._path = path
        self._poll = select.poll()
        self._devices: frozenset[int] = frozenset()
        self._free = asyncio.Semaphore(MOST_LOOKS)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the list of mounts."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._poll.unregister(descriptor)
            os.close(descriptor)

    def devices(self) -> frozenset[int]:
        """Their device numbers, as ``st_dev`` tells them.

        The list is read again only when the kernel says that it has changed: POLLPRI, proc_pid_mounts(5).
        """
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                self._poll.register(self._descriptor, select.POLLPRI)
            elif not self._poll.poll(0):
                return self._devices
            mounts = [each for each in read_mounts(self._path) if each.is_network]
        except OSError:  # no /proc: nothing is known
            return frozenset()
        self._devices = frozenset(os.makedev(*map(int, each.device.split(":"))) for each in mounts)
        return self._devices

    async def look(self, function: Callable[[], Found]) -> Found:
        """Call what may hang, in a thread of its own; cancelling leaves the thread behind until it comes back.

        It is a daemon thread, as those of an executor would keep the agent from ending.

        Raises:
            ResourceExhausted: there can be no more threads.
        """
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        answer: Future[Found] = Future()
        answer.set_running_or_notify_cancel()  # from now on it cannot be cancelled, only left alone

        def work() -> None:
            try:
                answer.set_result(function())
            except BaseException as error:  # raised where it is waited for
                answer.set_exception(error)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._free.release)

        try:
            threading.Thread(target=work, name="virtagent-look", daemon=True).start()
        except RuntimeError:
            self._free.release()
            raise ResourceExhausted("the agent cannot start another thread") from None
        return await asyncio.wrap_future(answer)
