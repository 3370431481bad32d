"""Samples of durations, and what is told of them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from statistics import median, quantiles
from typing import Any

__all__ = ["WARM_UP", "summary", "timed", "timed_blocking"]

WARM_UP = 100
"""Calls before those that are measured: code, caches and the scheduler's placement settle."""


def timed_blocking(call: Callable[[], Any], count: int) -> list[float]:
    """The durations of `count` calls one after the other, in seconds."""
    clock = time.perf_counter
    for _ in range(WARM_UP):
        call()
    samples = []
    for _ in range(count):
        start = clock()
        call()
        samples.append(clock() - start)
    return samples


async def timed(call: Callable[[], Awaitable[Any]], count: int) -> list[float]:
    """The same for calls that are awaited."""
    clock = time.perf_counter
    for _ in range(WARM_UP):
        await call()
    samples = []
    for _ in range(count):
        start = clock()
        await call()
        samples.append(clock() - start)
    return samples


def summary(name: str, samples: list[float]) -> dict[str, float]:
    """The metrics ``NAME/p50_us`` and ``NAME/p99_us`` of durations in seconds; at least two are needed."""
    return {f"{name}/p50_us": median(samples) * 1e6, f"{name}/p99_us": quantiles(samples, n=100)[98] * 1e6}
