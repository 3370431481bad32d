"""The command: count, and print the table."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.counted.counters import Allocations, Counter, CounterMissing, SystemCalls, instruction_counter
from benchmarks.counted.measure import Job, measure, metrics_of
from benchmarks.counted.pair import PairFailed
from benchmarks.counted.table import text_tables
from benchmarks.counted.tree import ROOT, copied_tree
from benchmarks.counted.workloads import chosen

QUANTITIES = ("instructions", "allocations", "system calls")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.counted", description=__doc__)
    made.add_argument("--only", action="append", default=[], metavar="WORD", help="rows with this in their name")
    made.add_argument("--count", action="append", choices=QUANTITIES, help="what to count (default: all)")
    made.add_argument("--loop", action="append", choices=("asyncio", "uvloop"), help="event loops (default: asyncio)")
    made.add_argument("--instructions", choices=("auto", "valgrind", "perf"), default="auto", help="what counts them")
    made.add_argument("--tree", type=Path, default=ROOT, metavar="DIR", help="another checkout to measure")
    return made


def counters(quantities: list[str], instructions: str) -> list[Counter]:
    """What counts these quantities here.

    Raises:
        CounterMissing: a tool is missing, or does not count on this machine.
    """
    made: list[Counter] = []
    if "instructions" in quantities:
        made.append(instruction_counter(instructions))
    if "allocations" in quantities:
        made.append(Allocations())
    if "system calls" in quantities:
        made.append(SystemCalls())
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit code."""
    options = parser().parse_args(arguments)
    try:
        workloads = chosen(options.only)
        counting = counters(options.count or list(QUANTITIES), options.instructions)
        jobs = [
            Job(workload, counter, loop)
            for loop in options.loop or ["asyncio"]
            for counter in counting
            for workload in workloads
        ]
        started = time.monotonic()
        with copied_tree(options.tree) as tree:
            costs = measure(jobs, tree)
    except (ValueError, CounterMissing, PairFailed, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    metrics = {name: value for job, cost in costs.items() for name, value in metrics_of(job, cost).items()}
    print(text_tables(metrics))
    print(f"\ncounted in {time.monotonic() - started:.0f} s by {', '.join(counter.tool for counter in counting)}")
    return 0
