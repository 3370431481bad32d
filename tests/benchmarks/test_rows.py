"""The rows measure: each one for real, with small counts. What the numbers are is not a test's concern."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import start
from benchmarks.loops import LOOPS
from benchmarks.rows import __main__ as program
from benchmarks.rows.catalogue import KINDS
from benchmarks.rows.expression import Metric, MissingMetric
from benchmarks.rows.servers import Servers
from benchmarks.rows.session import Session
from benchmarks.rows.setting import Setting, pinned
from benchmarks.rows.targets import TARGETS
from benchmarks.rows.timing import latency, percentile
from benchmarks.start import StartFailed

ROOT = Path(__file__).parents[2]
TINY = 0.01

EXPECTED = {
    "sequential": {
        *(f"{subject}/sequential 64 B/p99_us" for subject in ("ours", "bare echo", "prototype")),
        "multiprocessing.connection/sequential 64 B/p50_us",
    },
    "pipelined": {
        "ours/pipelined 64/calls_per_s",
        "ours/pipelined 64 coroutine/calls_per_s",
        "prototype/pipelined 64/server_cpu_us",
        "prototype/pipelined 64/cpu_us",
    },
    "typed": {f"ours/{kind} call{mode}/p50_us" for kind in ("typed", "untyped") for mode in ("", " coroutine")},
    "payload": {
        f"{subject}/echo {size}/MB_per_s"
        for subject in ("ours", "bare echo", "multiprocessing.connection")
        for size in ("64 KiB", "1 MiB")
    },
    "notifications": {f"{subject}/notifications 1000/messages_per_s" for subject in ("ours", "prototype")},
    "connect": {f"{subject}/connect to first answer/p50_us" for subject in ("ours", "ours peer", "bare echo")},
    "stream": {"ours/stream/MB_per_s", "raw copy/stream/MB_per_s", "ours/ping during stream/p99_ms"},
    "starts": {f"{subject}/{what}" for subject in ("daemon", "bare process") for what in ("start/ms", "idle/rss_mib")},
}


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers() as servers:
        yield servers


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_row_measures(kind: str, loop: str, servers: Servers) -> None:
    metrics = KINDS[kind](Setting(servers, (loop,), TINY, 1))
    suffix = "" if loop == "asyncio" else f" {loop}"
    wanted = {with_suffix(name, suffix) for name in EXPECTED[kind]}
    assert wanted <= metrics.keys()
    assert all(value > 0 for name, value in metrics.items() if not name.endswith("server_cpu_us"))


def with_suffix(name: str, suffix: str) -> str:
    """A metric's name on another loop; what does not run on one has one name."""
    subject, rest = name.split("/", 1)
    return name if subject in ("multiprocessing.connection", "bare process") else f"{subject}{suffix}/{rest}"


def test_one_round_measures_all_that_targets_of_the_rows_need(servers: Servers) -> None:
    metrics = asyncio.run(Session(servers, TINY).one_round())
    missing = []
    for target in TARGETS:
        if target.measured_by != "rows":
            continue
        try:
            target.ours.value(metrics)
            if target.limit is not None:
                target.limit.value(metrics)
        except MissingMetric as error:
            missing.append((target.name, str(error)))
    assert [each for each in missing if "uvloop" in LOOPS or "uvloop" not in each[1]] == []


def test_what_others_measure_is_named_after_its_subject_and_workload() -> None:
    for target in TARGETS:
        for each in (target.ours, target.limit):
            if isinstance(each, Metric):
                assert len(each.name.split("/")) == 3, each.name


def test_a_server_is_started_once_and_its_cpu_time_grows(servers: Servers) -> None:
    first = servers.get("bare echo", "asyncio", None)
    assert servers.get("bare echo", "asyncio", None) is first
    assert 0 < first.cpu_seconds() <= first.cpu_seconds()


def test_a_server_that_cannot_listen_is_told_and_leaves_no_process(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StartFailed, match="/bin/false -m benchmarks.server prototype .* ended before it listened"):
        servers.get("prototype", "asyncio", 0)


def test_a_process_that_ends_instead_of_listening_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="SystemExit.* ended with exit code 7"):
        start.measure(["-c", "raise SystemExit(7)"], str(tmp_path / "none.sock"), ours=True)


def test_a_process_that_closes_the_connection_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "closing.sock")
    program = (
        f"import socket; s = socket.create_server({path!r}, family=socket.AF_UNIX); s.accept()[0].close(); s.accept()"
    )
    with pytest.raises(StartFailed, match="closed the connection"):
        start.measure(["-c", program], path, ours=False)


def test_a_measurement_gives_its_cpus_back() -> None:
    before = os.sched_getaffinity(0)
    with pinned(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before


def test_another_subject_comes_first_in_each_round(servers: Servers) -> None:
    orders = [Setting(servers, number=number).rotated("abc") for number in range(3)]
    assert ["".join(each) for each in orders] == ["abc", "bca", "cab"]


@given(st.lists(st.integers(0, 10**9), min_size=1), st.floats(0.001, 1))
def test_a_percentile_is_the_smallest_time_that_so_many_do_not_exceed(times: list[int], part: float) -> None:
    found = percentile(times, part)
    below = sum(each <= found for each in times)
    assert found in times
    assert below >= part * len(times)
    assert sum(each < found for each in times) < part * len(times)


def test_one_disturbed_pass_does_not_change_the_latency() -> None:
    metrics = latency("a", "call", [[1000] * 10, [2000] * 10, [10**9] * 10])
    assert metrics == {"a/call/p50_us": 2.0, "a/call/p99_us": 2.0}


# -- the program -----------------------------------------------------------------------------------------------------


def test_the_program_prints_a_table_and_writes_its_rounds(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    options = ["--only", "typed", "--rounds", "2", "--quick", "--loop", "asyncio", "--metrics"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.rows", *options, "--json", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "typed call, coroutine" in done.stdout
    assert "ours/untyped call/p50_us" in done.stdout
    record = json.loads(file.read_text())
    assert len(record["rounds"]) == 2
    assert "kernel" in record["environment"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "sequential,nothing"], "there are no rows 'nothing'; there are sequential, pipelined"),
        (["--rounds", "0"], "'0' is no number of rounds; give 1 or more"),
    ],
)
def test_bad_options_are_told_in_a_line(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.make_parser().parse_args(arguments)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_result_file_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        program.make_parser().parse_args(["--json", str(tmp_path / "missing" / "rows.json")])
    assert ended.value.code == 2
    assert "there is no folder" in capsys.readouterr().err
