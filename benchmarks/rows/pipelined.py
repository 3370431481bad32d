"""64 calls in flight, both ends on one CPU: inline and coroutine handlers, and the prototype."""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from typing import Any

from benchmarks.rows.lane import Lane, lanes
from benchmarks.rows.sequential import PAYLOAD, echo_call
from benchmarks.rows.setting import CPU, Setting, pinned
from benchmarks.rows.timing import Call, rate

__all__ = ["measure"]

INLINE, COROUTINE = "pipelined 64", "pipelined 64 coroutine"
PASSES, COUNT, WARM_UP = 8, 30, 20


def measure(setting: Setting) -> dict[str, float]:
    """Calls per second, and the CPU time for each: the server's, and both ends'.

    ``{ours, prototype}[ uvloop]/pipelined 64/{calls_per_s,server_cpu_us,cpu_us}`` and the same of
    ``ours[ uvloop]/pipelined 64 coroutine``. On a busy machine ``cpu_us`` still tells what calls per second do on one
    at rest.
    """
    get = setting.servers.get
    wanted = [
        (subject, loop, get(subject, loop, CPU).path) for loop in setting.loops for subject in ("ours", "prototype")
    ]
    found: dict[str, list[float]] = {}
    with pinned(), lanes(wanted) as opened:
        works = [(lane, INLINE, echo_call(lane)) for lane in opened]
        works += [
            (lane, COROUTINE, partial(lane.client.call, "coroutine", data=PAYLOAD))
            for lane in opened
            if lane.subject == "ours"
        ]
        for lane, _, call in works:
            lane.run(rate(call, setting.count(WARM_UP)))
        for number in range(PASSES):
            for lane, workload, call in setting.rotated(works, number):
                for statistic, value in run(setting, lane, call).items():
                    found.setdefault(f"{lane.name}/{workload}/{statistic}", []).append(value)
    return {name: median(values) for name, values in found.items()}


def run(setting: Setting, lane: Lane[Any], call: Call) -> dict[str, float]:
    """One pass of one subject."""
    server = setting.servers.get(lane.subject, lane.loop, CPU)
    count = setting.count(COUNT)
    served, used = server.cpu_seconds(), time.process_time()
    calls_per_s = lane.run(rate(call, count))
    used = time.process_time() - used
    served = server.cpu_seconds() - served
    microseconds = 1e6 / (count * 64)
    return {
        "calls_per_s": calls_per_s,
        "server_cpu_us": served * microseconds,
        "cpu_us": (served + used) * microseconds,
    }
