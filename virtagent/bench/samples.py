"""What was measured of single calls: six moments each, in columns."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["MOST_CALLS", "Column", "Samples"]

Column: TypeAlias = "npt.NDArray[np.int64]"
"""Nanoseconds, one for each call."""

MOST_CALLS = 2_000_000
"""Calls that one measurement records: 96 MB."""


def _column() -> array[int]:
    return array("q")


@dataclass(slots=True)
class Samples:
    """Moments in nanoseconds. Three are of this end's monotonic clock, three of the callee's.

    Attributes:
        intended: when the call should have been made: an open loop's schedule, else the same as ``sent``.
        sent: when it was made.
        received, started, finished: the callee's stamps (:class:`virtagent.api.bench.Echo`).
        answered: when its answer was here.
        errors: how many calls were answered with which error instead.
        first_error: what the first of these said.
    """

    intended: array[int] = field(default_factory=_column)
    sent: array[int] = field(default_factory=_column)
    received: array[int] = field(default_factory=_column)
    started: array[int] = field(default_factory=_column)
    finished: array[int] = field(default_factory=_column)
    answered: array[int] = field(default_factory=_column)
    errors: Counter[str] = field(default_factory=Counter)
    first_error: str = ""

    def __len__(self) -> int:
        return len(self.answered)

    def add(self, intended: int, sent: int, stamps: tuple[int, int, int], answered: int) -> None:
        """One call that was answered."""
        self.intended.append(intended)
        self.sent.append(sent)
        self.received.append(stamps[0])
        self.started.append(stamps[1])
        self.finished.append(stamps[2])
        self.answered.append(answered)

    def fail(self, error: Exception) -> None:
        """One call that was answered with an error."""
        self.errors[type(error).__name__] += 1
        self.first_error = self.first_error or str(error)

    def column(self, name: str) -> Column:
        """A copy of one column, such as "sent"."""
        return np.array(getattr(self, name), dtype=np.int64)
