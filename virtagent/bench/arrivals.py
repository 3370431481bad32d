"""When calls are to be made: schedules of an open loop."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

from virtagent.bench.timer import SECOND

__all__ = ["HIGHEST_RATE", "Arrivals", "arrivals"]

Arrivals = Literal["constant", "poisson"]
"""Evenly spaced, or independent of each other, as from many clients (exponential gaps)."""

HIGHEST_RATE = 1e6
"""Calls per second that may be asked for; no channel of ours comes near."""


def arrivals(kind: Arrivals, rate: float, begin: int, end: int, *, seed: int = 0) -> Iterator[int]:
    """The moments from ``begin`` up to ``end`` at which calls are to be made, in nanoseconds.

    Args:
        rate: calls per second, above 0.
        seed: of Poisson arrivals: the same seed gives the same schedule, so that runs can be compared.
    """
    return _constant(rate, begin, end) if kind == "constant" else _poisson(rate, begin, end, random.Random(seed))  # noqa: S311


def _constant(rate: float, begin: int, end: int) -> Iterator[int]:
    number = 0
    while (moment := begin + round(number * SECOND / rate)) < end:
        yield moment
        number += 1


def _poisson(rate: float, begin: int, end: int, source: random.Random) -> Iterator[int]:
    moment = begin + source.expovariate(rate) * SECOND
    while moment < end:
        yield round(moment)
        moment += source.expovariate(rate) * SECOND
