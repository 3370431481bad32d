"""Counting all that was asked for, as many pairs at a time as there are CPUs."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.counted.counters import Counter
from benchmarks.counted.pair import Cost, cost_of
from benchmarks.counted.workloads import Workload

__all__ = ["Job", "measure", "metric_name"]


@dataclass(frozen=True, slots=True)
class Job:
    """One workload under one counter on one event loop."""

    workload: Workload
    counter: Counter
    loop: str

    @property
    def row(self) -> str:
        """The row's name: the workload's key, with the loop in the subject if it is not asyncio's."""
        return row_name(self.workload.key, self.loop)


def row_name(key: str, loop: str) -> str:
    """A workload's key on an event loop: "ours/typed call" on uvloop is "ours uvloop/typed call"."""
    subject, workload = key.split("/")
    return key if loop == "asyncio" else f"{subject} {loop}/{workload}"


def metric_name(row: str, end: str, quantity: str) -> str:
    """A metric's flat name, such as "ours/typed call/server instructions"."""
    return f"{row}/{end} {quantity}"


def metrics_of(job: Job, cost: Cost) -> dict[str, float]:
    """The metrics of one job."""
    return {metric_name(job.row, end, job.counter.quantity): round(total, 3) for end, total in cost.totals().items()}


def measure(
    jobs: Iterable[Job], tree: Path, told: Callable[[Job, Cost], None] = lambda job, cost: None
) -> dict[Job, Cost]:
    """Count; each pair of processes has a CPU of its own.

    Args:
        told: called with each result as it comes, in any order and from any thread.

    Raises:
        PairFailed: a pair failed; no further ones are begun.
    """
    cpus: queue.SimpleQueue[int] = queue.SimpleQueue()
    for cpu in sorted(os.sched_getaffinity(0)):
        cpus.put(cpu)

    def count(job: Job) -> Cost:
        cpu = cpus.get()
        try:
            cost = cost_of(job.workload, job.counter, tree, loop=job.loop, cpu=cpu)
        finally:
            cpus.put(cpu)
        told(job, cost)
        return cost

    jobs = list(jobs)
    with ThreadPoolExecutor(max_workers=cpus.qsize()) as pool:
        running = [pool.submit(count, job) for job in jobs]
        try:
            return {job: done.result() for job, done in zip(jobs, running, strict=True)}
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
