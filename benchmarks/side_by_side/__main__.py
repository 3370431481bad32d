"""``python -m benchmarks.side_by_side``: this library beside others and the limits, in one run.

A full run writes docs/benchmarks.md, its plot and its data. A part of it (``--only``, ``--quick``) writes the same page
to benchmarks/results, and leaves docs as they are.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import Subject
from benchmarks.peers.roster import PEERS, subjects
from benchmarks.side_by_side.found import Found, Measurable
from benchmarks.side_by_side.others import OTHERS, other
from benchmarks.side_by_side.pair import ROOT, measure
from benchmarks.side_by_side.peers_environment import PeersEnvironment, prepare
from benchmarks.side_by_side.plot import write_plot
from benchmarks.side_by_side.programs import program_versions
from benchmarks.side_by_side.report import BEGIN, END, NoMarkers, generated, write_page
from benchmarks.side_by_side.result import Result, SubjectRecord, UnreadableResult, load, save
from benchmarks.side_by_side.rounds import measure_rounds

PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"
QUICK = 0.2
"""The scale of all times with ``--quick``."""


def positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rounds; give 1 or more")
    return int(text)


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.side_by_side", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=5, help="interleaved rounds [5]")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help=f"{', '.join(OTHERS)} or a peer ({', '.join(peer.name for peer in PEERS)}; NAME uvloop: on that loop)",
    )
    parser.add_argument("--quick", action="store_true", help="measure each workload for a fifth of the time")
    parser.add_argument("--report", type=Path, metavar="FILE", help="measure nothing: make the page of this result")
    return parser


def record(subject: Subject, peers: PeersEnvironment) -> SubjectRecord:
    """A subject as the report tells it."""
    peer = subject.peer
    found = {name: peers.versions[name] for name in peer.distributions if name in peers.versions}
    found |= program_versions(peer.programs)
    return SubjectRecord(subject.name, peer.name, peer.role, subject.loop, peer.channel, peer.usage, found)


def measurable(subject: Subject, peers: PeersEnvironment, directory: Path, scale: float) -> Measurable:
    """A subject as it is measured in each round."""
    failure = peers.failures.get(subject.peer.name)
    if failure is not None:
        failed = Found(failures={subject.name: failure})
        return Measurable(subject.name, lambda: failed)
    python = peers.python if subject.peer.distributions else sys.executable
    cpu = max(os.sched_getaffinity(0))
    return Measurable(subject.name, lambda: measure(subject, python, directory, cpu, scale))


def progress(text: str) -> None:
    """On one line of a terminal; nowhere else."""
    if sys.stderr.isatty():
        print(f"\r{text:78}", end="", file=sys.stderr, flush=True)


def run(chosen: Sequence[Subject], others: Sequence[str], options: argparse.Namespace, path: Path) -> Result:
    """Measure; the result, which is written after each round."""
    from virtagent.bench.environment import environment

    peers = prepare(PEERS) if any(subject.peer.distributions for subject in chosen) else PeersEnvironment("")
    started = time.monotonic()
    asked = {"rounds": options.rounds, "only": options.only, "quick": options.quick}
    result = Result(environment("asyncio and uvloop"), asked, [record(subject, peers) for subject in chosen])

    def finished(result: Result) -> None:
        result.seconds = round(time.monotonic() - started)
        save(result, path)

    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        scale = QUICK if options.quick else 1.0
        measurables = [measurable(subject, peers, Path(name), scale) for subject in chosen]
        measurables += [stack.enter_context(other(each, quick=options.quick)) for each in others]
        measure_rounds(result, measurables, options.rounds, progress, finished)
    progress("")
    return result


def write_report(result: Result, page: Path) -> None:
    """Write the page and its plot."""
    plot = page.with_suffix(".svg")
    write_plot(result, plot)
    write_page(page, generated(result, plot.name))
    print(f"{page.relative_to(ROOT)}, {plot.relative_to(ROOT)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; 0 even where a target is missed: the page says so, and a busy machine says little."""
    options = make_parser().parse_args(arguments)
    try:
        if options.report is not None:
            write_report(load(options.report), PAGE)
            return 0
        others = [name for name in OTHERS if not options.only or name in options.only]
        peers_only = [name for name in options.only if name not in OTHERS]
        chosen = subjects(peers_only) if peers_only or not options.only else []
        path = RESULTS / f"side_by_side-{time.strftime('%Y%m%d-%H%M%S')}.json"
        result = run(chosen, others, options, path)
        print(path.relative_to(ROOT))
        if options.only or options.quick:
            page = path.with_suffix(".md")
            page.write_text(f"{BEGIN}\n{END}\n")
        else:
            page = PAGE
            save(result, page.with_suffix(".json"))
        write_report(result, page)
    except (ValueError, UnreadableResult, NoMarkers) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
