"""Timing calls: one after the other, and many in flight."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from typing import Any

__all__ = ["latency", "percentile", "rate", "sample", "sample_blocking"]

Call = Callable[[], Awaitable[Any]]


async def sample(call: Call, count: int) -> list[int]:
    """The times of calls one after the other, nanoseconds each."""
    clock = time.perf_counter_ns
    times = []
    for _ in range(count):
        start = clock()
        await call()
        times.append(clock() - start)
    return times


def sample_blocking(call: Callable[[], Any], count: int) -> list[int]:
    """The same for a call that blocks."""
    clock = time.perf_counter_ns
    times = []
    for _ in range(count):
        start = clock()
        call()
        times.append(clock() - start)
    return times


async def rate(call: Call, count: int, width: int = 64) -> float:
    """Calls per second with ``width`` of them in flight, each of which makes its next one when it is answered.

    Args:
        count: how many for each of them.
    """

    async def worker() -> None:
        for _ in range(count):
            await call()

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(width)))
    return count * width / (time.perf_counter() - start)


def percentile(times: Sequence[float], part: float) -> float:
    """The smallest of the times that at least this part of them does not exceed.

    Args:
        part: above 0 and up to 1; 0.5 is the median.

    Raises:
        ValueError: there are none.
    """
    if not times:
        raise ValueError("no times were measured")
    ordered = sorted(times)
    return ordered[max(math.ceil(len(ordered) * part), 1) - 1]


def latency(name: str, workload: str, passes: Sequence[Sequence[int]]) -> dict[str, float]:
    """Metrics of times in nanoseconds: medians over the passes, so that one that was disturbed does not count.

    Args:
        passes: the times of each.
    """
    return {
        f"{name}/{workload}/{statistic}": median(percentile(times, part) for times in passes) / 1e3
        for statistic, part in (("p50_us", 0.5), ("p99_us", 0.99))
    }
