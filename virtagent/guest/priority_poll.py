"""Files that tell of news as exceptional conditions (POLLPRI), which no event loop asks for: a thread does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
from collections.abc import Iterable

__all__ = ["PriorityPoll"]


class PriorityPoll:
    """Waits for POLLPRI of some descriptors in a thread of its own. An async context manager.

    Args:
        descriptors: they must stay open as long as this does.
    """

    def __init__(self, descriptors: Iterable[int]) -> None:
        self._descriptors = tuple(descriptors)
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        self._taken = threading.Semaphore(0)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._poll, name="virtagent-poll", daemon=True)

    async def __aenter__(self) -> PriorityPoll:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        os.eventfd_write(self._stop, 1)
        self._taken.release(len(self._descriptors) + 1)
        self._thread.join()  # it only has to return from poll(2)
        os.close(self._stop)

    async def next(self) -> tuple[int, bool]:
        """The next descriptor that has news, and whether that is an error (POLLERR) and no news."""
        descriptor, events = await self._news.get()
        self._taken.release()
        return descriptor, not events & select.POLLPRI

    def _poll(self) -> None:
        poll = select.poll()
        for each in self._descriptors:
            poll.register(each, select.POLLPRI)
        poll.register(self._stop, select.POLLIN)
        while True:
            found = poll.poll()
            if any(descriptor == self._stop for descriptor, _ in found):
                return
            for pair in found:
                with contextlib.suppress(RuntimeError):  # the loop has been closed
                    self._loop.call_soon_threadsafe(self._news.put_nowait, pair)
            # A descriptor that has an error has it for ever: it is asked again only when somebody knows.
            for _ in found:
                self._taken.acquire()
