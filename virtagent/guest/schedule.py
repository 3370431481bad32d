"""When to take samples: whole intervals after the first one, however long each takes."""

from __future__ import annotations

__all__ = ["Schedule"]


class Schedule:
    """Ticks at ``start + n * interval``. Those that have passed unused are left out, and the next ones are not shifted.

    Args:
        interval: seconds between two ticks.
        start: the time of tick 0.
    """

    def __init__(self, interval: float, start: float) -> None:
        self._interval = interval
        self._start = start
        self._next = 0

    def next_tick(self, now: float) -> tuple[int, float]:
        """The next tick that has not been used and is not over: its number, and seconds until it.

        A tick is over when the one after it has come. Asking uses it.
        """
        current = int((now - self._start) / self._interval)
        number = max(self._next, current)
        self._next = number + 1
        return number, max(self._start + number * self._interval - now, 0.0)
