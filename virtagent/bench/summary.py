"""From moments of calls to a series: distributions, phases, blocks, time line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from virtagent.bench.clocks import ClockEstimate
from virtagent.bench.distribution import Distribution, describe
from virtagent.bench.load import Recording
from virtagent.bench.result import Block, CallSeries, Interval
from virtagent.bench.samples import Column, Samples
from virtagent.bench.timer import SECOND

__all__ = [
    "BLOCKS",
    "INTERVALS",
    "Cost",
    "Plan",
    "Split",
    "blocks_of",
    "call_phases",
    "connect_phases",
    "summarise",
    "time_line",
]

Split: TypeAlias = "Callable[[Samples, ClockEstimate], dict[str, Column]]"
"""Finds what latencies are made of, in nanoseconds, for each call."""

BLOCKS = 30
"""Stretches into which a measurement is cut, all rounds together."""

FEWEST_IN_A_BLOCK = 10
FEWEST_FOR_P99 = 200
"""Calls in a block below which its p99 is hardly more than its maximum."""

INTERVALS = 120
"""Steps of a time line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The load of a series; see :class:`~virtagent.bench.result.CallSeries`."""

    name: str
    size: int = 0
    in_flight: int = 1
    rate: float | None = None
    arrivals: str = ""


@dataclass(slots=True)
class Cost:
    """What both ends spent on a series, all rounds together. None: not known.

    Attributes:
        here, there: seconds of CPU.
        rss_here, rss_there: bytes, at the end.
    """

    here: float | None = None
    there: float | None = None
    rss_here: int | None = None
    rss_there: int | None = None

    def per(self, count: int) -> tuple[float | None, float | None]:
        """Seconds of CPU for each of ``count``, here and there."""
        here = None if self.here is None or not count else self.here / count
        there = None if self.there is None or not count else self.there / count
        return here, there


@dataclass(slots=True)
class Timings:
    """Latencies of a round and their phases, in nanoseconds, in the order in which calls were made."""

    intended: Column
    latency: Column
    phases: dict[str, Column] = field(default_factory=dict)


def summarise(
    plan: Plan,
    rounds: Sequence[Recording],
    cost: Cost,
    clocks: Sequence[ClockEstimate | None],
    *,
    split: Split | None = None,
) -> CallSeries:
    """The series that these rounds of one load make.

    Args:
        clocks: the callee's clock in each round.
        split: what latencies are made of; None: :func:`call_phases`.
    """
    timings = [latencies(each.samples, clock, split or call_phases) for each, clock in zip(rounds, clocks, strict=True)]
    count = sum(len(each.samples) for each in rounds)
    seconds = sum(each.seconds for each in rounds)
    errors: Counter[str] = sum((each.samples.errors for each in rounds), Counter())
    cpu_here, cpu_there = cost.per(count)
    phases = phases_of(timings)
    return CallSeries(
        name=plan.name,
        loop="closed" if plan.rate is None else "open",
        rate=plan.rate,
        arrivals=plan.arrivals,
        in_flight=plan.in_flight,
        size=plan.size,
        count=count,
        errors=dict(errors),
        seconds=seconds,
        achieved=count / seconds if seconds else 0.0,
        sustained=plan.rate is None or all(each.sustained for each in rounds),
        latency=describe(joined([each.latency for each in timings])),
        phases=phases,
        cpu_here=cpu_here,
        cpu_there=cpu_there,
        rss_here=cost.rss_here,
        rss_there=cost.rss_there,
        clock=next((clock for clock in clocks if clock is not None), None) if "wire_out" in phases else None,
        blocks=[
            block
            for number, (each, timing) in enumerate(zip(rounds, timings, strict=True))
            for block in blocks_of(number, timing, each, BLOCKS // len(rounds))
        ],
        time_line=time_line(timings, rounds),
    )


def latencies(samples: Samples, clock: ClockEstimate | None, split: Split) -> Timings:
    """Latency and phases of each call."""
    intended, answered = samples.column("intended"), samples.column("answered")
    order = np.argsort(intended, kind="stable")
    phases = {} if clock is None else split(samples, clock)
    return Timings(intended[order], (answered - intended)[order], {key: each[order] for key, each in phases.items()})


def call_phases(samples: Samples, clock: ClockEstimate) -> dict[str, Column]:
    """What the latency of calls with the callee's stamps is made of."""
    sent, answered = samples.column("sent"), samples.column("answered")
    received, started, finished = (samples.column(name) for name in ("received", "started", "finished"))
    return {
        "queue": sent - samples.column("intended"),
        "wire_out": clock.ours(received, sent) - sent,
        "callee_queue": started - received,
        "handler": finished - started,
        "wire_back": answered - clock.ours(finished, answered),
        "wire": (answered - sent) - (finished - received),
    }


def connect_phases(samples: Samples, clock: ClockEstimate) -> dict[str, Column]:
    """What the time from connecting to the first answer is made of; all stamps are this end's."""
    opened = samples.column("received")
    return {"open": opened - samples.column("sent"), "first_answer": samples.column("answered") - opened}


def phases_of(timings: Sequence[Timings]) -> dict[str, Distribution]:
    """The distribution of each phase that all rounds have."""
    names = [name for name in timings[0].phases if all(name in each.phases for each in timings)] if timings else []
    found = {name: describe(joined([each.phases[name] for each in timings])) for name in names}
    return {name: each for name, each in found.items() if each is not None}


def joined(columns: Sequence[Column]) -> Column:
    """One column of several."""
    return np.concatenate(columns) if columns else np.empty(0, dtype=np.int64)


def blocks_of(number: int, timing: Timings, recording: Recording, wanted: int) -> list[Block]:
    """A round cut into blocks of equal time: calls that follow each other are alike, stretches of time less so."""
    count = len(timing.latency)
    blocks = min(wanted, count // FEWEST_IN_A_BLOCK)
    if blocks < 1 or recording.until <= recording.begin:
        return []
    edges = np.linspace(recording.begin, recording.until, blocks + 1)
    cuts = np.searchsorted(timing.intended, edges)
    cuts[-1] = count
    width = float(edges[1] - edges[0]) / SECOND
    found = []
    for begin, end in pairwise(cuts):
        part = timing.latency[begin:end]
        if len(part) < FEWEST_IN_A_BLOCK // 2:
            continue
        values = {"p50": float(np.percentile(part, 50)), "rate": len(part) / width}
        if len(part) >= FEWEST_FOR_P99:
            values["p99"] = float(np.percentile(part, 99))
        found.append(Block(round=number, values=values))
    return found


def time_line(timings: Sequence[Timings], rounds: Sequence[Recording]) -> list[Interval]:
    """Latency over time; rounds follow each other without the pauses between them."""
    found = []
    passed = 0.0
    for timing, recording in zip(timings, rounds, strict=True):
        if not len(timing.latency):
            continue
        steps = max(1, min(INTERVALS // len(rounds), len(timing.latency) // FEWEST_IN_A_BLOCK))
        edges = np.linspace(recording.begin, max(recording.until, recording.begin + 1), steps + 1)
        cuts = np.searchsorted(timing.intended, edges)
        cuts[-1] = len(timing.latency)
        for step, (begin, end) in enumerate(pairwise(cuts)):
            part = timing.latency[begin:end]
            told = np.percentile(part, (50, 99, 100)).astype(int).tolist() if len(part) else (None, None, None)
            found.append(
                Interval(
                    start=passed + float(edges[step] - recording.begin) / SECOND,
                    seconds=float(edges[1] - edges[0]) / SECOND,
                    count=len(part),
                    p50=told[0],
                    p99=told[1],
                    max=told[2],
                )
            )
        passed += recording.seconds
    return found
