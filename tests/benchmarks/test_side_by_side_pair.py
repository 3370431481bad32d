"""Real pairs of processes, measured for a moment: what needs no installation."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.peers.peer import WORKLOADS, Subject
from benchmarks.peers.roster import subjects
from benchmarks.side_by_side.found import Found
from benchmarks.side_by_side.pair import measure

CPU = max(os.sched_getaffinity(0))
MOMENT = 0.01

Measure = Callable[[Subject], Found]


@pytest.fixture
def measured(tmp_path: Path) -> Measure:
    return lambda subject: measure(subject, sys.executable, tmp_path, CPU, MOMENT)


STATISTICS = {
    "sequential": {"p50_us", "p99_us"},
    "in flight": {"calls_per_s", "server_cpu_us"},
    "payload": {"MB_per_s"},
    "stream": {"MB_per_s", "MiB"},
}


@pytest.mark.parametrize("name", ["ours", "bare echo", "prototype", "raw copy", "multiprocessing.connection"])
def test_a_pair_gives_every_metric_of_its_workloads(measured: Measure, name: str) -> None:
    subject = next(each for each in subjects([name]) if each.loop != "uvloop")
    found = measured(subject)
    assert found.failures == {}
    for key in subject.peer.workloads:
        for statistic in STATISTICS[WORKLOADS[key].kind]:
            assert found.metrics[f"{name}/{WORKLOADS[key].name}/{statistic}"] > 0
    assert found.metrics[f"{name}/server/rss_mib"] > 1
    assert found.metrics[f"{name}/server/ready_ms"] > 1


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_limit_in_c_is_compiled_and_measured(measured: Measure) -> None:
    found = measured(subjects(["C ping-pong"])[0])
    assert found.failures == {}
    assert found.metrics["C ping-pong/sequential 64 B/p50_us"] > 0
    assert found.metrics["C ping-pong/stream/MB_per_s"] > 0


def test_a_server_that_does_not_start_is_a_failure_with_its_error(measured: Measure) -> None:
    subject = subjects(["raw copy"])[0]
    found = measured(Subject(replace(subject.peer, name="raw copy of nobody"), subject.loop))
    assert found.metrics == {}
    assert found.failures["raw copy of nobody"].startswith(
        "the server did not start: ValueError: no such peer: raw copy of nobody"
    )


def test_a_program_that_is_missing_is_a_failure(measured: Measure) -> None:
    subject = subjects(["C ping-pong"])[0]
    found = measured(Subject(replace(subject.peer, programs=("no-such-compiler",)), subject.loop))
    assert found.failures == {"C ping-pong": "no-such-compiler is not installed"}


def test_a_library_that_is_not_installed_is_a_failure(measured: Measure) -> None:
    """This environment has none of the other libraries: that is what their own environment is for."""
    found = measured(subjects(["rpyc"])[0])
    assert found.failures == {"rpyc": "the server did not start: ModuleNotFoundError: No module named 'rpyc'"}
