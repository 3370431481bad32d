"""The numbers of results in words: what tables on a terminal and pages share."""

from __future__ import annotations

from typing import Any

from virtagent.bench.compare import Difference
from virtagent.bench.distribution import PERCENTILES
from virtagent.bench.result import CallSeries, StreamSeries
from virtagent.bench.units import bytes_per_second, duration, number, size

__all__ = [
    "PHASES",
    "call_cells",
    "clock_note",
    "comparison_cells",
    "cpu_cells",
    "environment_line",
    "load_text",
    "plain_text",
    "stream_cells",
]

UNKNOWN = "-"

PHASES = {
    "queue": "waiting here to be sent",
    "wire_out": "on the way there",
    "callee_queue": "waiting there for others",
    "handler": "handler",
    "wire_back": "on the way back",
    "open": "connecting",
    "first_answer": "first call",
}
"""The phases that add up to the latency, in the order in which they happen."""


def call_cells(series: CallSeries) -> list[str]:
    """Calls, calls/s, the percentiles, max, errors."""
    assert series.latency is not None
    told = series.latency.percentiles
    rate = number(series.achieved) + (f" of {number(series.rate)}" if series.rate is not None else "")
    return [
        f"{series.count:,}",
        rate,
        *(duration(told[f"{each:g}"]) if f"{each:g}" in told else UNKNOWN for each in PERCENTILES),
        duration(series.latency.max),
        ", ".join(f"{count} {name}" for name, count in series.errors.items()) or "0",
    ]


def cpu_cells(series: CallSeries) -> list[str]:
    """CPU per call here and there."""
    return [UNKNOWN if cpu is None else duration(cpu * 1e9) for cpu in (series.cpu_here, series.cpu_there)]


def stream_cells(series: StreamSeries) -> list[str]:
    """Rate, bytes, time, chunks, CPU for each megabyte here and there."""
    return [
        bytes_per_second(series.achieved),
        size(series.bytes),
        f"{series.seconds:.2f} s",
        size(series.chunk),
        *(UNKNOWN if cpu is None else f"{duration(cpu * 1e15)}/MB" for cpu in (series.cpu_here, series.cpu_there)),
    ]


def comparison_cells(difference: Difference) -> list[str]:
    """Metric, old, new, change, interval."""
    return [
        f"{difference.series}, {difference.metric}",
        metric_text(difference, difference.old),
        metric_text(difference, difference.new),
        f"{(difference.ratio - 1) * 100:+.1f} %",
        f"{(difference.low - 1) * 100:+.1f} … {(difference.high - 1) * 100:+.1f} %",
    ]


def metric_text(difference: Difference, value: float) -> str:
    """A metric's value with its unit."""
    if difference.metric != "rate":
        return duration(value)
    return bytes_per_second(value) if difference.stream else f"{number(value)}/s"


def load_text(series: CallSeries) -> str:
    """What was asked for, such as "64 B, 200 calls/s (constant), at most 1,024 in flight"; "" of a connect."""
    if "open" in series.phases or not series.count:
        return ""
    if series.rate is None:
        return f"echoes of {size(series.size)}, the next when one is answered (closed loop)"
    kind = f"{number(series.rate)} calls/s by the clock ({series.arrivals}, open loop)"
    return f"echoes of {size(series.size)}, {kind}, at most {series.in_flight:,} in flight"


def clock_note(series: CallSeries) -> str:
    """How the two ways were told apart; "" if they were not."""
    if series.clock is None or "wire_out" not in series.phases:
        return ""
    if series.clock.method == "same clock":
        return "clocks: both ends run on one machine and read the same clock"
    return (
        "clocks: the callee's was estimated from the fastest round trips, taken to be equally long both ways:"
        f" each way may be off by {duration(series.clock.error)}, both together are exact"
    )


def environment_line(environment: dict[str, Any]) -> str:
    """The most important facts of an environment."""
    load = environment.get("load")
    versions = environment.get("versions") or {}
    facts = [
        environment.get("kernel"),
        f"{environment['cpus']} x {environment.get('cpu') or environment.get('machine')}"
        if environment.get("cpus")
        else "",
        environment.get("virtualization"),
        environment.get("python"),
        f"{environment['loop']} loop" if environment.get("loop") else "",
        f"virtagent {versions['virtagent']}" if "virtagent" in versions else "",
        f"load {load[0]:.2f}" if load else "",
    ]
    return ", ".join(str(each) for each in facts if each)


def plain_text(value: Any) -> str:
    """A field of an environment or of the options in one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(f"{each:.2f}" if isinstance(each, float) else str(each) for each in value)
    return "" if value is None else str(value)
