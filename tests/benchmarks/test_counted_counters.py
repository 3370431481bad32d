"""What tools write is read as they write it: samples of valgrind 3.19, perf 6.1, memray 1.20 and strace 6.1."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.counted.counters import (
    Allocations,
    Counter,
    CounterMissing,
    Perf,
    SystemCalls,
    Valgrind,
    instruction_counter,
    parse_memray,
    parse_perf,
    parse_strace,
    parse_valgrind,
)

CACHEGRIND = """\
==7726== Cachegrind, a cache and branch-prediction profiler
==7726== Copyright (C) 2002-2017, and GNU GPL'd, by Nicholas Nethercote et al.
==7726== Using Valgrind-3.19.0 and LibVEX; rerun with -h for copyright info
==7726== Command: /usr/bin/python3 x.py
==7726== Parent PID: 7725
==7726==
==7726==
==7726== I   refs:      401,237,186
"""

CALLGRIND = """\
==7777== Callgrind, a call-graph generating cache profiler
==7777== Events    : Ir
==7777== Collected : 400617049
==7777==
==7777== I   refs:      400,617,049
"""

NEWER_CACHEGRIND = "==12== \n==12== I refs:        1,234\n"

PERF = """\
# started on Tue Nov 24 21:38:02 2026

48211934,,instructions:u,14713052,100.00,,
"""

PERF_CANNOT = "<not supported>,,instructions:u,0,100.00,,\n"

STRACE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.09    0.025813           8      3201           epoll_wait
 20.87    0.008820           5      1612         1 recvfrom
 18.04    0.007622           4      1600           sendto
  0.00    0.000000           0        15        15 ioctl
------ ----------- ----------- --------- --------- ----------------
100.00    0.042255           6      6428        16 total
"""


def test_instructions_are_read_from_cachegrind_and_callgrind_old_and_new() -> None:
    assert parse_valgrind(CACHEGRIND) == 401_237_186
    assert parse_valgrind(CALLGRIND) == 400_617_049
    assert parse_valgrind(NEWER_CACHEGRIND) == 1234


def test_a_valgrind_that_failed_is_quoted() -> None:
    with pytest.raises(ValueError, match="valgrind counted nothing; it said: valgrind: failed to start tool"):
        parse_valgrind("valgrind: failed to start tool 'cachegrind' for platform 'amd64-linux'\n")
    with pytest.raises(ValueError, match="it said: nothing"):
        parse_valgrind("")


def test_instructions_are_read_from_perf() -> None:
    assert parse_perf(PERF) == 48_211_934
    assert parse_perf("77,,instructions:u:H,1,100.00,,\n") == 77


def test_a_cpu_without_a_counter_is_told_apart_from_zero_instructions() -> None:
    with pytest.raises(ValueError, match=r"perf cannot count instructions here \(not supported\)"):
        parse_perf(PERF_CANNOT)
    with pytest.raises(ValueError, match="perf counted no instructions; it said: Access to performance"):
        parse_perf("Access to performance monitoring is limited\n")


def test_system_calls_are_read_by_name_with_and_without_errors() -> None:
    assert parse_strace(STRACE) == {"epoll_wait": 3201, "recvfrom": 1612, "sendto": 1600, "ioctl": 15}


def test_a_strace_that_wrote_no_table_is_quoted() -> None:
    with pytest.raises(ValueError, match="strace counted nothing; it said: strace: attach"):
        parse_strace("strace: attach: ptrace(PTRACE_SEIZE, 12): Operation not permitted\n")


@given(st.dictionaries(st.from_regex(r"[a-z_]{2,12}[0-9]{0,2}", fullmatch=True), st.integers(1, 10**9)))
def test_any_strace_table_is_read_back(counts: dict[str, int]) -> None:
    counts.pop("total", None)
    if not counts:
        return
    rows = [
        f"  0.00    0.000000           0 {calls:9} {'1' if calls % 2 else '':>9} {name}"
        for name, calls in counts.items()
    ]
    lines = STRACE.splitlines()
    assert parse_strace("\n".join([*lines[:2], *rows, *lines[-2:]])) == counts


def test_allocations_are_read_from_memrays_statistics() -> None:
    assert parse_memray(json.dumps({"total_num_allocations": 2751, "total_bytes_allocated": 1})) == 2751
    with pytest.raises(ValueError, match="no total_num_allocations"):
        parse_memray("{}")


def test_a_tool_that_is_not_installed_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(CounterMissing, match="valgrind is not installed: apt-get install -y valgrind"):
        Valgrind()
    with pytest.raises(CounterMissing, match="strace is not installed: apt-get install -y strace"):
        SystemCalls()
    with pytest.raises(CounterMissing, match="perf is not installed: apt-get install -y linux-perf"):
        Perf()
    with pytest.raises(CounterMissing, match="valgrind is not installed"):
        instruction_counter()


def programs(directory: Path, **scripts: str) -> str:
    """A directory of shell scripts, to be the PATH."""
    for name, script in scripts.items():
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)
    return str(directory)


def test_perf_counts_where_valgrind_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    perf = "case $1 in --version) echo perf version 6.1.9;; *) echo 48211934,,instructions:u,1,100.00,, >&2;; esac"
    monkeypatch.setenv("PATH", programs(tmp_path, perf=perf))
    found = instruction_counter()
    assert (type(found), found.tool) == (Perf, "perf 6.1.9")


def test_a_perf_without_a_counter_does_not_take_valgrinds_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    perf = "case $1 in --version) echo perf version 6.1.9;; *) echo '<not supported>,,instructions:u,0,,,' >&2;; esac"
    monkeypatch.setenv("PATH", programs(tmp_path, perf=perf))
    with pytest.raises(CounterMissing, match="valgrind is not installed: apt-get install -y valgrind"):
        instruction_counter()
    with pytest.raises(CounterMissing, match="perf cannot count instructions here"):
        instruction_counter("perf")


def test_a_strace_that_may_not_trace_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strace = (
        "case $1 in --version) echo strace -- version 6.1;; *) echo 'PTRACE_TRACEME: not permitted' >&2; exit 1;; esac"
    )
    monkeypatch.setenv("PATH", programs(tmp_path, strace=strace))
    with pytest.raises(CounterMissing, match="strace may not trace here: PTRACE_TRACEME: not permitted"):
        SystemCalls()


def counter_or_skip(make: type[Counter]) -> Counter:
    try:
        return make()
    except CounterMissing as missing:
        pytest.skip(str(missing))


PROGRAM = "import os, sys; [(os.getppid(), bytearray(100)) for _ in range(int(sys.argv[1]))]"


def counted(counter: Counter, count: int, directory: Path) -> dict[str, int]:
    """What a small program costs that does something ``count`` times."""
    file = directory / str(count)
    done = subprocess.run(
        counter.command([sys.executable, "-I", "-S", "-c", PROGRAM, str(count)], file),
        capture_output=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return counter.read(file)


def test_valgrind_counts_instructions_of_a_real_process(tmp_path: Path) -> None:
    counter = counter_or_skip(Valgrind)
    few, many = (counted(counter, count, tmp_path)["instructions"] for count in (1000, 11_000))
    assert 100 < (many - few) / 10_000 < 10_000


def test_perf_counts_instructions_of_a_real_process(tmp_path: Path) -> None:
    counter = counter_or_skip(Perf)
    few, many = (counted(counter, count, tmp_path)["instructions"] for count in (1000, 101_000))
    assert 100 < (many - few) / 100_000 < 10_000


def test_strace_counts_system_calls_of_a_real_process(tmp_path: Path) -> None:
    counter = counter_or_skip(SystemCalls)
    few, many = (counted(counter, count, tmp_path).get("getppid", 0) for count in (10, 110))
    assert many - few == 100


ALLOCATING = """
import itertools, sys, memray
destination = memray.FileDestination(sys.argv[3], overwrite=True, compress_on_exit=False)
with memray.Tracker(destination=destination, trace_python_allocators=True):
    for _ in itertools.repeat(None, int(sys.argv[1])):
        object()
"""


def test_memray_counts_what_is_freed_at_once(tmp_path: Path) -> None:
    counter = counter_or_skip(Allocations)
    counts = []
    for count in (1000, 2000):
        file = tmp_path / str(count)
        command = counter.command([sys.executable, "-c", ALLOCATING, str(count)], file)
        subprocess.run(command, check=True, timeout=50)
        counts.append(counter.read(file)["allocations"])
    assert counts[1] - counts[0] == pytest.approx(1000, abs=20)


def test_a_recording_that_memray_cannot_read_is_an_error(tmp_path: Path) -> None:
    counter = counter_or_skip(Allocations)
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ValueError, match="memray stats failed"):
        counter.read(tmp_path / "empty")


def test_this_machine_has_what_counts_if_it_is_our_ci() -> None:
    """Tests above are skipped without their tools; in CI, which installs them, that would go unnoticed."""
    script = (Path(__file__).parents[2] / ".ci" / "run").read_text()
    packages = script.split("packages=(", 1)[1].split(")", 1)[0].split()
    assert {"valgrind", "strace"} <= set(packages)
    assert shutil.which("python3") is not None
