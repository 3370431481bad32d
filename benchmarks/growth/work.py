"""The work in instructions, of two cores joined in memory: what noise cannot touch.

A process under callgrind (:mod:`benchmarks.growth.counting`) does one workload after the other, and calls
``getloadavg`` before and after each: callgrind is told to write down, and begin anew, at each call of that function,
which nothing else calls.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.growth.metric import Curve, Metric
from benchmarks.growth.process import ROOT, environment

__all__ = ["BYTES", "COUNTS", "CounterMissing", "counted"]

TIMEOUT = 110.0
"""Seconds for all workloads at one point; the largest takes some fifteen."""


class CounterMissing(Exception):
    """What counts instructions is not installed; the text says what to do."""


def counted(names: list[str], x: int, directory: Path) -> dict[str, int]:
    """Instructions of each workload at one point.

    Raises:
        CounterMissing: valgrind is not installed.
        RuntimeError: the process failed, or callgrind wrote something else than expected.
    """
    if shutil.which("valgrind") is None:
        raise CounterMissing("valgrind is not installed: apt-get install -y valgrind")
    out = directory / "callgrind"
    tool = ["valgrind", "--tool=callgrind", "--dump-before=getloadavg", f"--callgrind-out-file={out}"]
    done = subprocess.run(
        [*tool, sys.executable, "-m", "benchmarks.growth.counting", str(x), *names],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment() | {"PYTHONHASHSEED": "0"},
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-1500:])
    return {name: instructions_in(Path(f"{out}.{2 * index + 2}")) for index, name in enumerate(names)}


def instructions_in(file: Path) -> int:
    """What one of callgrind's files counted.

    Raises:
        RuntimeError: it has no total.
    """
    found = re.search(r"^totals: (\d+)", file.read_text() if file.exists() else "", re.MULTILINE)
    if found is None:
        raise RuntimeError(f"callgrind wrote no total to {file.name}")
    return int(found[1])


async def measure(names: list[str], x: int, directory: Path) -> dict[str, float]:
    """One point of a curve."""
    return {f"{name}_instructions": float(value) for name, value in counted(names, x, directory).items()}


def metric(name: str, title: str, per: str = "") -> Metric:
    """A metric of instructions; ``per`` names what it is linear in, without it it is to stay flat."""
    return Metric(
        name=f"{name}_instructions",
        title=title,
        unit="instructions",
        expected="linear" if per else "flat",
        counted=True,
        per=per,
    )


def curve(name: str, title: str, axis: str, steps: tuple[int, ...], *metrics: Metric, note: str) -> Curve:
    """A curve of instructions; they repeat, so one round is enough."""
    names = [each.name.removesuffix("_instructions") for each in metrics]
    return Curve(
        name=name,
        title=title,
        axis=axis,
        steps=steps,
        quick=steps[:2],
        metrics=metrics,
        measure=partial(measure, names),
        note=note,
        rounds=1,
    )


COUNTS = curve(
    "work",
    "Work, counted",
    "of them",
    (100, 200, 400, 800),
    metric("answered_calls", "calls open at once", "call"),
    metric("calls_beside_open_ones", "32 calls beside open calls"),
    metric("cancelled_calls", "calls cancelled", "call"),
    metric("passing_deadlines", "deadlines that pass one by one", "call"),
    metric("default_deadlines", "default deadlines that pass", "call"),
    metric("streams", "streams opened, used, ended", "stream"),
    metric("stream_beside_open_ones", "32 items beside open streams"),
    metric("reset_streams", "streams reset at once", "stream"),
    metric("notifications", "notifications in one turn", "notification"),
    metric("drained_handlers", "handlers that end during a close", "handler"),
    note="Instructions by callgrind, of both ends together: two cores joined in memory, in virtual time. They repeat, "
    "so that an exponent of 1.1 is told from 1.0.",
)

BYTES = curve(
    "work-bytes",
    "Work of payload, counted",
    "bytes",
    (1024 * 1024, 4 * 1024 * 1024, 15 * 1024 * 1024),
    metric("long_message", "call with so many bytes, echoed", "byte"),
    metric("long_stream", "stream of so many bytes", "byte"),
    note="Instructions by callgrind, as above. Copying takes few instructions for each byte, but a second copy of what "
    "came before would show.",
)
