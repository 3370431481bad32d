"""``python -m benchmarks.rows``: our speed beside what is possible here, in one run."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.loops import LOOPS
from benchmarks.rows.catalogue import KINDS, measure_round
from benchmarks.rows.servers import Servers
from benchmarks.rows.setting import QUICK, Setting
from benchmarks.rows.table import metric_lines, table_lines
from benchmarks.rows.target import judge
from benchmarks.rows.targets import TARGETS
from benchmarks.start import StartFailed
from virtagent.guest.environment import is_compiled

BUSY = 0.5
"""A load average that a machine at rest does not have."""


def names(text: str) -> tuple[str, ...]:
    """Kinds of rows, separated by commas."""
    found = tuple(each.strip() for each in text.split(","))
    for each in found:
        if each not in KINDS:
            raise argparse.ArgumentTypeError(f"there are no rows {each!r}; there are {', '.join(KINDS)}")
    return found


def positive(text: str) -> int:
    """A number of rounds."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rounds; give 1 or more")
    return int(text)


def new_file(text: str) -> Path:
    """Where a result goes; told now, not after minutes of measuring."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(path.parent)!r}")
    return path


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rows", description=__doc__)
    parser.add_argument("--only", type=names, default=(), metavar="NAME,...", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--rounds", type=positive, default=5, help="interleaved rounds [5]")
    parser.add_argument("--quick", action="store_true", help="measure less in each round")
    parser.add_argument("--loop", choices=LOOPS, action="append", help="only on this event loop [both]")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the rounds to a file")
    parser.add_argument("--metrics", action="store_true", help="print every metric, too")
    return parser


def main() -> int:
    """The program; 0 even where a target is missed: on a busy machine that says little. 1: a process failed."""
    options = make_parser().parse_args()
    loops = tuple(options.loop or LOOPS)
    rounds: list[dict[str, float]] = []
    started = time.monotonic()
    load = os.getloadavg()[0]
    try:
        with Servers() as servers:
            for number in range(options.rounds):
                setting = Setting(servers, loops, QUICK if options.quick else 1.0, number)
                rounds.append(measure_round(setting, options.only))
    except StartFailed as error:
        print(f"benchmarks.rows: {error}", file=sys.stderr)
        return 1
    if options.json is not None:
        from virtagent.bench.environment import environment

        record = {"environment": environment(loop=" ".join(loops)), "rounds": rounds}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    if options.metrics:
        every = {name: [each[name] for each in rounds if name in each] for each in rounds for name in each}
        print("\n".join(metric_lines({name: median(values) for name, values in every.items()})), end="\n\n")
    print("\n".join(table_lines([judge(target, rounds) for target in TARGETS])))
    print(
        f"virtagent {'compiled' if is_compiled() else 'interpreted'}; "
        f"medians of {len(rounds)} interleaved rounds, {time.monotonic() - started:.0f} s in all; "
        "a figure is the median of the rounds' quotients"
    )
    if load > BUSY:
        print(f"the load was {load:.1f} before this run began: something else ran, so rates and p99 mean little")
    return 0


if __name__ == "__main__":
    sys.exit(main())
