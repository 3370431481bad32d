"""Waiting for a moment to within microseconds.

An event loop's own timers are rounded up to milliseconds by epoll(7), on asyncio as on uvloop: at 1,000 calls a second
each would be late by more than a call over a socket takes. A timerfd(2) wakes the loop on time, and burns no CPU.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from abc import ABC, abstractmethod

__all__ = ["LoopTimer", "PreciseTimer", "Timer"]

TFD_TIMER_ABSTIME = 1
SECOND = 1_000_000_000


class Timer(ABC):
    """A clock, and waiting by it."""

    @abstractmethod
    def now(self) -> int:
        """Nanoseconds of a monotonic clock."""

    @abstractmethod
    async def sleep_until(self, moment: int) -> None:
        """Wait until ``now()`` is ``moment``; a moment that has passed still lets others run."""

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds."""


class LoopTimer(Timer):
    """The event loop's own clock: for virtual time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now(self) -> int:
        return round(self._loop.time() * SECOND)

    async def sleep_until(self, moment: int) -> None:
        await asyncio.sleep(max(0, moment - self.now()) / SECOND)

    def close(self) -> None:
        """Nothing is held."""


class TimerSpec(ctypes.Structure):
    """``struct itimerspec``."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


class PreciseTimer(Timer):
    """CLOCK_MONOTONIC and a timerfd(2), made inside an event loop; one task waits at a time.

    Raises:
        OSError: the kernel has no more descriptors to give.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._waiter: asyncio.Future[None] | None = None
        self._descriptor = self._checked(self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._expired)
        self.now = time.monotonic_ns  # type: ignore[method-assign]  # asked twice for every call: no frame of our own

    def now(self) -> int:
        return time.monotonic_ns()

    async def sleep_until(self, moment: int) -> None:
        if moment <= time.monotonic_ns():
            await asyncio.sleep(0)
            return
        seconds, nanoseconds = divmod(moment, SECOND)
        spec = TimerSpec(0, 0, seconds, nanoseconds)
        self._waiter = self._loop.create_future()
        self._checked(self._libc.timerfd_settime(self._descriptor, TFD_TIMER_ABSTIME, ctypes.byref(spec), None))
        await self._waiter

    def _expired(self) -> None:
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"timerfd: {os.strerror(number)}")
        return result

    def close(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
