"""Counting all that was asked for, as many pairs at a time as there are CPUs."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from benchmarks.counted.counters import Counter
from benchmarks.counted.metric import Metric
from benchmarks.counted.pair import Cost, cost_of
from benchmarks.counted.workloads import Workload

__all__ = ["Job", "measure", "metrics_of"]


@dataclass(frozen=True, slots=True)
class Job:
    """One workload under one counter on one event loop."""

    workload: Workload
    counter: Counter
    loop: str


def metrics_of(job: Job, cost: Cost) -> dict[str, float]:
    """The metrics of one job."""
    key, loop, quantity = job.workload.key, job.loop, job.counter.quantity
    return {Metric(key, loop, end, quantity).name: round(total, 3) for end, total in cost.totals().items()}


def measure(jobs: Iterable[Job], tree: Path, told: Callable[[Job], None] = lambda job: None) -> dict[Job, Cost]:
    """Count; each pair of processes has a CPU of its own.

    Args:
        told: called with each job that is done, in any order and from any thread.

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
        told(job)
        return cost

    jobs = list(jobs)
    with ThreadPoolExecutor(max_workers=cpus.qsize()) as pool:
        running = {pool.submit(count, job): job for job in jobs}
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    for done in running:
        if not done.cancelled():
            done.result()
    return {job: done.result() for done, job in running.items()}
