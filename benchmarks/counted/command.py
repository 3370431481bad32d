"""Count instructions, allocations and system calls per call, beside their limits and the accepted counts.

What is counted is a copy of the checkout, interpreted; or of another tree, compiled if it has extension modules.

Exits with 1 when a cost grew by more than a tenth, with 2 when something could not be counted.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.counted.baseline import Run, load, run_here, save
from benchmarks.counted.counters import Allocations, Counter, CounterMissing, SystemCalls, instruction_counter
from benchmarks.counted.gate import changes, verdict
from benchmarks.counted.measure import Job, measure, metrics_of
from benchmarks.counted.metric import LOOPS
from benchmarks.counted.page import write_page
from benchmarks.counted.pair import PairFailed
from benchmarks.counted.table import Names, by_name, text_tables
from benchmarks.counted.tree import ROOT, code_of, copied_tree
from benchmarks.counted.workloads import QUANTITIES, chosen

__all__ = ["main"]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.counted", description=__doc__)
    made.add_argument("--only", action="append", default=[], metavar="WORD", help="rows with this in their name")
    made.add_argument("--count", action="append", choices=QUANTITIES, help="what to count (default: all)")
    made.add_argument("--loop", action="append", choices=LOOPS, help="event loops (default: asyncio)")
    made.add_argument("--instructions", choices=("auto", "valgrind", "perf"), default="auto", help="what counts them")
    made.add_argument("--tree", type=Path, default=ROOT, metavar="DIR", help="another checkout to measure")
    made.add_argument("--accept", action="store_true", help="make these counts the baseline, and docs/counted.md")
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


def counted(options: argparse.Namespace) -> tuple[Run, Names]:
    """Count what the options ask for.

    Raises:
        ValueError, CounterMissing, PairFailed, OSError: it could not be counted.
    """
    workloads = chosen(options.only)
    counting = counters(options.count, options.instructions)
    jobs = [Job(workload, counter, loop) for loop in options.loop for counter in counting for workload in workloads]
    done = []

    def told(job: Job) -> None:
        done.append(job)
        if sys.stderr.isatty():
            print(f"\r{len(done)} of {len(jobs)} counted", end="\r", file=sys.stderr, flush=True)

    with copied_tree(options.tree) as tree:
        costs = measure(jobs, tree, told)
    metrics = {name: value for job, cost in costs.items() for name, value in metrics_of(job, cost).items()}
    return run_here(counting, code_of(options.tree), metrics), by_name(costs)


def compare(run: Run, names: Names, options: argparse.Namespace) -> int:
    """Print the table beside the baseline; the exit code."""
    code = run.environment["code"]
    accepted = load(code)
    complete = [] if options.only else [(loop, quantity) for loop in options.loop for quantity in options.count]
    found = changes(accepted, run, complete) if accepted is not None else []
    lines, is_open = verdict(found)
    print(text_tables(run.metrics, found, names))
    print("", *lines, sep="\n")
    if accepted is None:
        print(f"there is no baseline of {code} code to compare with: run this with --accept, for all rows")
        return 1
    print("the gate is open" if is_open else "the gate is shut")
    return 0 if is_open else 1


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit code."""
    options = parser().parse_args(arguments)
    if options.accept and (options.only or options.count):
        print("--accept counts everything: leave --only and --count out", file=sys.stderr)
        return 2
    options.count = options.count or list(QUANTITIES)
    options.loop = options.loop or ["asyncio"]
    started = time.monotonic()
    try:
        run, names = counted(options)
        code = compare(run, names, options)
        if options.accept:
            save(run)
            write_page(run, names)
            print("accepted: benchmarks/counted/baseline.json and docs/counted.md are new; commit them with the reason")
            code = 0
    except (ValueError, CounterMissing, PairFailed, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"counted in {time.monotonic() - started:.0f} s by {', '.join(run.environment['tools'].values())}")
    return code
