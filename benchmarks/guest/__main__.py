"""``python -m benchmarks.guest``: a real guest over virtio-serial, and qemu-ga, each beside virtagentd in one run."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.guest.agent_process import QEMU_GA_MISSING, AgentError, qemu_ga_program
from benchmarks.guest.session import session
from benchmarks.rows.table import metric_lines, table_lines
from benchmarks.rows.target import judge
from benchmarks.rows.targets import TARGETS
from tests.vm.harness import HarnessError

LONGEST = 330.0
"""Seconds after which no further round begins."""


def positive(text: str) -> int:
    """A number of rounds."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rounds; give 1 or more")
    return int(text)


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guest", description=__doc__)
    parser.add_argument("--only", choices=("guest", "qemu-ga"), help="only one of the two [both]")
    parser.add_argument("--rounds", type=positive, default=5, help="interleaved rounds [5]")
    parser.add_argument("--quick", action="store_true", help="measure less in each round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rounds to a file")
    return parser


async def measure(options: argparse.Namespace) -> list[dict[str, float]]:
    """The rounds; fewer than wanted where they take too long."""
    begun = time.monotonic()
    wanted = {"guest": options.only != "qemu-ga", "qemu_ga": options.only != "guest"}
    rounds: list[dict[str, float]] = []
    async with session(quick=options.quick, **wanted) as running:
        while len(rounds) < options.rounds and time.monotonic() - begun < LONGEST:
            rounds.append(await running.one_round())
    return rounds


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; 0 even where a target is missed: on a busy machine that says little."""
    options = make_parser().parse_args(arguments)
    if options.only != "guest" and qemu_ga_program() is None:
        if options.only == "qemu-ga":
            raise SystemExit(QEMU_GA_MISSING)
        print(f"{QEMU_GA_MISSING}; measuring the guest only", file=sys.stderr)
        options.only = "guest"
    started, load = time.monotonic(), os.getloadavg()[0]
    try:
        rounds = asyncio.run(measure(options))
    except (AgentError, HarnessError) as error:
        raise SystemExit(str(error)) from None
    if options.json is not None:
        from virtagent.bench.environment import environment

        record = {"environment": environment(loop="asyncio uvloop"), "rounds": rounds}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    print("\n".join(metric_lines({name: median(each[name] for each in rounds) for name in rounds[0]})), end="\n\n")
    verdicts = [judge(target, rounds) for target in TARGETS if target.measured_by == "guest"]
    print("\n".join(table_lines(verdicts)))
    print(f"medians of {len(rounds)} interleaved rounds, {time.monotonic() - started:.0f} s; load before: {load:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
