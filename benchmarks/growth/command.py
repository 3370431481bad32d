"""The command: measure, judge, print the table, write the page and the plot."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.growth import work
from benchmarks.growth.curves import CURVES
from benchmarks.growth.metric import Curve
from benchmarks.growth.page import page
from benchmarks.growth.process import ROOT
from benchmarks.growth.rounds import Grown, Measured, grown, measure_all
from benchmarks.growth.table import text_table

__all__ = ["main"]

ROUNDS = 3

EXIT_OK, EXIT_DEFECT, EXIT_FAILED = 0, 1, 2


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.growth",
        description="Measure how cost grows, and write docs/growth.md and docs/growth.svg.",
        epilog="Exit codes: 0 nothing grows faster than it may, 1 something does, 2 not all could be measured.",
    )
    made.add_argument("--only", action="append", choices=tuple(CURVES), help="this curve; may be repeated")
    made.add_argument("--rounds", type=int, default=ROUNDS, help=f"interleaved rounds [{ROUNDS}; quick: 1]")
    made.add_argument("--quick", action="store_true", help="few and small points, one round: whether it works at all")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the values of each round")
    made.add_argument("--from", dest="source", type=Path, metavar="FILE", help="judge what --json wrote")
    made.add_argument(
        "--docs", type=Path, metavar="DIR", help="where the page and the plot go [docs; --quick, --only: none]"
    )
    return made


def chosen(names: list[str] | None) -> tuple[list[Curve], list[str]]:
    """The curves to measure, and a line for each that cannot be measured here."""
    curves = [CURVES[name] for name in names or CURVES]
    if shutil.which("valgrind") is not None:
        return curves, []
    counted = [curve for curve in curves if curve in (work.COUNTS, work.BYTES)]
    missing = [f"{curve.title}: valgrind is not installed: apt-get install -y valgrind" for curve in counted]
    return [curve for curve in curves if curve not in counted], missing


def read(file: Path) -> tuple[Measured, dict[str, Any]]:
    """What ``--json`` wrote.

    Raises:
        ValueError: it is something else.
    """
    try:
        content = json.loads(file.read_text())
        measured = Measured({}, list(content["rounds"]), list(content["failed"]), float(content["seconds"]))
        for each in measured.rounds:
            for key, value in each.items():
                _, workload, name = key.split("/")
                curve, x = workload.rsplit(" ", 1)
                points = measured.points.setdefault(curve, {}).setdefault(name, {})
                points.setdefault(int(x), []).append(float(value))
        return measured, content["environment"]
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{file}: not what --json wrote ({error})") from error


def judged(measured: Measured) -> list[list[Grown]]:
    """All curves that were measured."""
    found = [grown(curve, measured.points[name]) for name, curve in CURVES.items() if name in measured.points]
    return [each for each in found if each]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit code."""
    options = parser().parse_args(arguments)
    if options.source is not None:
        try:
            measured, environment = read(options.source)
        except ValueError as error:
            print(error, file=sys.stderr)
            return EXIT_FAILED
    else:
        measured, environment = measure(options)
    return report(measured, environment, docs_of(options))


def measure(options: argparse.Namespace) -> tuple[Measured, dict[str, Any]]:
    """Measure what was asked for, and write the values if that was asked for too."""
    from virtagent.bench.environment import environment as environment_record

    environment = environment_record("asyncio")
    curves, missing = chosen(options.only)
    rounds = 1 if options.quick else max(1, options.rounds)
    measured = measure_all(
        curves, quick=options.quick, rounds=rounds, told=lambda line: print(line, file=sys.stderr, flush=True)
    )
    measured.failed.extend(missing)
    if options.json is not None:
        content = {"environment": environment} | {
            name: getattr(measured, name) for name in ("seconds", "failed", "rounds")
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    return measured, environment


def docs_of(options: argparse.Namespace) -> Path | None:
    """Where the page goes: a part of the curves, or quick points, must not replace the whole."""
    if options.docs is not None:
        return Path(options.docs)
    return None if options.quick or options.only else ROOT / "docs"


def report(measured: Measured, environment: dict[str, Any], docs: Path | None) -> int:
    """Print the table, write the page and the plot; the exit code."""
    curves = judged(measured)
    for line in measured.failed:
        print(f"not measured: {line}")
    if not curves:
        return EXIT_FAILED
    print(text_table(curves))
    if docs is not None:
        from benchmarks.growth.plot import plot

        (docs / "growth.md").write_text(page(curves, environment, measured))
        plot(curves, docs / "growth.svg")
    defects = [each for found in curves for each in found if each.is_defect]
    for each in defects:
        print(
            f"DEFECT: {each.curve.title}: {each.metric.title} is {each.verdict.value}, expected {each.metric.expected}"
        )
    print(f"\n{sum(map(len, curves))} quantities in {measured.seconds:.0f} s: {len(defects)} grow faster than they may")
    if defects:
        return EXIT_DEFECT
    return EXIT_FAILED if measured.failed else EXIT_OK
