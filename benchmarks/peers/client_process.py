"""The client side of one peer: ``python -m benchmarks.peers.client_process JSON``; measures, and prints JSON.

What it is told: ``peer``, ``loop``, ``address``, ``server`` (process id), ``brokers`` (process ids), ``cpu``, and
``scale`` (of the seconds that each workload takes).
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from importlib import import_module
from statistics import median
from typing import Any

from benchmarks.peers.driver import Driver, driver_of
from benchmarks.peers.peer import WORKLOADS, Subject, Workload
from benchmarks.peers.roster import subjects
from benchmarks.peers.running import run
from benchmarks.peers.usage import cpu_seconds, move, rss_mib

__all__ = ["main"]

SECONDS = {"sequential": 0.5, "in flight": 0.5, "payload": 0.25}
"""How long each kind of workload is measured."""

WARM_UP = 0.2
"""Share of that time that is spent before, unmeasured."""

WIDTH = 64
MEGABYTE = 1e6
MIB = 1024 * 1024
TRIAL = 16 * MIB
LARGEST_STREAM = 1024 * MIB
STREAM_SECONDS = 0.8
"""A stream takes about as long as this, or has a gibibyte."""


@dataclass(slots=True)
class Measurement:
    """One client at its workloads.

    Attributes:
        metrics: what was found, by ``workload/statistic``.
        failures: what could not be measured and why, by workload.
    """

    driver: Driver
    server: int
    brokers: list[int]
    cpu: int
    scale: float
    metrics: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    async def all(self, names: tuple[str, ...]) -> None:
        """Do these workloads, in the order of :data:`WORKLOADS`; one that fails does not end the others."""
        for key, workload in WORKLOADS.items():
            if key in names:
                here = {self.cpu} if workload.pinned else os.sched_getaffinity(os.getppid())
                move([os.getpid(), self.server, *self.brokers], here)
                try:
                    await self.one(workload)
                except Exception as error:  # whatever a library raises is its row in the report
                    self.failures[workload.name] = reason(error)

    async def one(self, workload: Workload) -> None:
        found = await getattr(self, workload.kind.replace(" ", "_"))(workload)
        self.metrics |= {f"{workload.name}/{statistic}": value for statistic, value in found.items()}
        if "server/rss_mib" not in self.metrics:
            self.metrics["server/rss_mib"] = rss_mib(self.server)
            if self.brokers:
                self.metrics["server/broker_rss_mib"] = sum(map(rss_mib, self.brokers))

    async def samples(self, workload: Workload) -> list[float]:
        seconds, payload = SECONDS[workload.kind] * self.scale, os.urandom(workload.size)
        await self.driver.sequential(workload.method, payload, seconds * WARM_UP)
        return await self.driver.sequential(workload.method, payload, seconds)

    async def sequential(self, workload: Workload) -> dict[str, float]:
        found = sorted(await self.samples(workload))
        return {"p50_us": median(found) * 1e6, "p99_us": found[int(len(found) * 0.99)] * 1e6}

    async def payload(self, workload: Workload) -> dict[str, float]:
        found = await self.samples(workload)
        return {"MB_per_s": workload.size * len(found) / sum(found) / MEGABYTE}

    async def in_flight(self, workload: Workload) -> dict[str, float]:
        seconds, payload = SECONDS[workload.kind] * self.scale, os.urandom(workload.size)
        await self.driver.in_flight(workload.method, payload, seconds * WARM_UP, WIDTH)
        before, brokers_before = cpu_seconds([self.server]), cpu_seconds(self.brokers)
        calls, taken = await self.driver.in_flight(workload.method, payload, seconds, WIDTH)
        used, brokers_used = cpu_seconds([self.server]) - before, cpu_seconds(self.brokers) - brokers_before
        found = {"calls_per_s": calls / taken, "server_cpu_us": used / calls * 1e6}
        return found | ({"broker_cpu_us": brokers_used / calls * 1e6} if self.brokers else {})

    async def stream(self, workload: Workload) -> dict[str, float]:
        total = TRIAL
        taken = await self.driver.stream(total)
        wanted = TRIAL / taken * STREAM_SECONDS * self.scale
        while total * 2 <= LARGEST_STREAM and total * 1.5 <= wanted:
            total *= 2
        taken = await self.driver.stream(total)
        return {"MB_per_s": total / taken / MEGABYTE, "MiB": total / MIB}


def reason(error: BaseException) -> str:
    """One line that says what went wrong."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


async def measure(module: Any, subject: Subject, told: dict[str, Any]) -> Measurement:
    driver = await driver_of(module, told["address"])
    measurement = Measurement(driver, told["server"], told["brokers"], told["cpu"], told["scale"])
    await measurement.all(subject.peer.workloads)
    await driver.close()
    return measurement


def main() -> None:
    told = json.loads(sys.argv[1])
    os.sched_setaffinity(0, {told["cpu"]})
    subject = next(each for each in subjects([told["peer"]]) if each.loop == told["loop"])
    module = import_module(f"benchmarks.peers.{subject.peer.module}")
    found = run(module, subject.loop, measure(module, subject, told))
    print(json.dumps({"metrics": found.metrics, "failures": found.failures}), flush=True)
    os._exit(0)  # what libraries do at exit (threads, pending tasks) is not under measure, and some of them hang


if __name__ == "__main__":
    main()
