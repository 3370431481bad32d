"""The benchmark of programs beside qemu-ga."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from benchmarks.agent.exec import LIMITS, measure
from benchmarks.agent.report import report
from benchmarks.guest.agent_process import QEMU_GA_MISSING, qemu_ga_program


@pytest.fixture
def directory() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name."""
    with TemporaryDirectory(prefix="va-") as path:
        yield Path(path)


@pytest.mark.skipif(qemu_ga_program() is None, reason=QEMU_GA_MISSING)
def test_both_agents_are_measured_in_one_run(directory: Path) -> None:
    metrics = measure(directory, rounds=1, samples=2, execs=40, calls=2000)
    assert LIMITS.keys() <= metrics.keys()
    assert min(metrics["exec/qemu_ga_polled_us"], metrics["exec/capture_us"], metrics["exec/run_us"]) > 0
    assert metrics["rss_after_execs_MiB"] > 1
    assert len(report(metrics, LIMITS)) == len(metrics)


def test_what_is_asked_for_is_judged() -> None:
    limits = {"a": (1.0, "at most"), "b": (2.0, "at least"), "c": (3.0, "below")}
    assert report({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}, limits) == [
        "a                                    1.00   at most 1: met",
        "b                                    2.00   at least 2: met",
        "c                                    3.00   below 3: MISSED",
        "d                                    4.00",
    ]
