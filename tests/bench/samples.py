"""Results made up for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from virtagent.bench.clocks import estimate_clock
from virtagent.bench.load import Recording
from virtagent.bench.result import SCHEMA, Result
from virtagent.bench.streaming import StreamRecording, summarise_streams
from virtagent.bench.summary import Cost, Plan, summarise
from virtagent.bench.timer import SECOND

__all__ = ["call_result", "recording", "stream_result"]

HERE = {"kernel": "Linux 6.1", "cpus": 2, "cpu": "a processor", "python": "CPython 3.11.7", "loop": "asyncio"}


def recording(
    *,
    calls: int = 6000,
    seconds: float = 3.0,
    scale: float = 1.0,
    seed: int = 0,
    queue: int = 0,
    offset: int = 0,
    correlation: float = 0.0,
) -> Recording:
    """Calls of about 50 µs times ``scale``: 20 on each way, 1 waiting there, 9 in the handler.

    Args:
        correlation: how alike calls that follow each other are.
    """
    noise = np.random.default_rng(seed)
    factors = noise.normal(0, 0.1, calls)
    for number in range(1, calls):
        factors[number] += correlation * factors[number - 1]
    made = Recording(begin=1000, end=1000 + round(seconds * SECOND), made=calls)
    for intended, factor in zip(np.linspace(1000, made.end, calls, endpoint=False), np.exp(factors), strict=True):
        sent = int(intended) + queue
        way, handler = round(20_000 * scale * factor), round(9000 * scale * factor)
        received = sent + way + offset
        started = received + 1000
        made.samples.add(int(intended), sent, (received, started, started + handler), sent + 2 * way + 1000 + handler)
    made.last = max(made.samples.answered, default=made.begin)
    return made


def call_result(*rounds: Recording, plan: Plan | None = None, cost: Cost | None = None, **fields: Any) -> Result:
    """A result with one series."""
    cost = cost or Cost(here=0.1, there=0.2, rss_here=30 << 20, rss_there=24 << 20)
    plan = plan or Plan(name="latency", size=64)
    rounds = rounds or (recording(),)
    clocks = [estimate_clock([each.samples], same_machine=True) for each in rounds]
    series = [summarise(plan, rounds, cost, clocks)]
    return result(calls=series, **fields)


def stream_result(*, rate: float = 1e9, seconds: float = 2.0, seed: int = 0, **fields: Any) -> Result:
    """A result with one stream."""
    made = StreamRecording(seconds=seconds)
    noise = np.random.default_rng(seed)
    for number in range(round(seconds * 100)):
        made.add(round(rate / 100 * noise.normal(1, 0.05)), number * 10_000_000)
    series = [summarise_streams("from guest", "from guest", 65536, [made], Cost(here=0.5, there=0.6))]
    return result(workload="stream", streams=series, **fields)


def result(**fields: Any) -> Result:
    defaults: dict[str, Any] = {
        "schema": SCHEMA,
        "workload": "latency",
        "target": "web1",
        "url": "unix:/run/vm/web1.sock",
        "date": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "options": {"seconds": 3.0, "count": None},
        "here": HERE,
        "there": HERE,
    }
    return Result(**{**defaults, **fields})
