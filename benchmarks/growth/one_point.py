"""One point of one curve in a process of its own: ``python -m benchmarks.growth.one_point CURVE X``; prints JSON."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.growth.metric import Curve
from benchmarks.growth.process import ROOT, environment

__all__ = ["PointFailed", "measure_point"]

TIMEOUT = 120.0
"""Seconds that one point may take."""


class PointFailed(Exception):
    """A point could not be measured; the text says which and why."""


def measure_point(curve: Curve, x: int) -> dict[str, float]:
    """Measure one point in a new process.

    Raises:
        PointFailed: it could not be measured.
    """
    command = [sys.executable, "-m", "benchmarks.growth.one_point", curve.name, str(x)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise PointFailed(f"{curve.name} at {x}: took more than {TIMEOUT:g} s") from None
    if done.returncode:
        raise PointFailed(f"{curve.name} at {x}: {done.stderr.strip()[-1500:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {curve.metric(name).name: float(value) for name, value in found.items()}


async def main(name: str, x: int) -> None:
    from benchmarks.growth.curves import CURVES

    with tempfile.TemporaryDirectory(prefix="growth-") as directory:
        print(json.dumps(await CURVES[name].measure(x, Path(directory))))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
