"""Noticing, from another thread, that something blocks the event loop, and saying what."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from types import FrameType, TracebackType

__all__ = ["LoopWatchdog"]

log = logging.getLogger("virtagent.watchdog")

INTERVAL = 1.0
"""Seconds between two looks: longer than any handler may hold the loop, and cheap (20 µs each)."""

_IDLE = frozenset({"select", "poll", "run_forever", "run_until_complete", "run", "_run_once"})
"""Functions in which an event loop waits, or which call a loop that is not written in Python."""


class LoopWatchdog:
    """Looks at the running loop's thread; where the same code is found at work twice, asks the loop for an answer.

    Args:
        interval: seconds between two looks, and how long the loop may take to answer.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._ending = threading.Event()
        self._answered = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="virtagent-watchdog", daemon=True)

    def __enter__(self) -> LoopWatchdog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join(self._interval)

    def _frame(self) -> FrameType | None:
        """Where the loop's thread is at the moment; None if it waits for events."""
        frame = sys._current_frames().get(self._thread_id)
        return None if frame is None or frame.f_code.co_name in _IDLE else frame

    def _watch(self) -> None:
        while not self._ending.wait(self._interval):
            if self._frame() is None:
                continue
            began = time.monotonic()
            self._answered.clear()
            try:
                self._loop.call_soon_threadsafe(self._answered.set)
            except RuntimeError:
                return  # the loop is closed
            if not self._answered.wait(self._interval):
                self._report(began)

    def _report(self, began: float) -> None:
        told = self._describe()
        log.warning("the event loop has been blocked for more than %.1f s by %s", time.monotonic() - began, told)
        while not self._answered.wait(self._interval):
            if self._ending.is_set():
                return
        log.warning("the event loop goes on after %.1f s; it was blocked by %s", time.monotonic() - began, told)

    def _describe(self) -> str:
        """The task's name (that of a method, for a handler), and the line where it is."""
        task = asyncio.current_task(self._loop)
        what = f"the task {task.get_name()!r}" if task is not None else "a callback or an inline handler"
        frame = self._frame()
        if frame is None:
            return what
        code = frame.f_code
        return f"{what}, in {code.co_qualname} ({code.co_filename}:{frame.f_lineno})"
