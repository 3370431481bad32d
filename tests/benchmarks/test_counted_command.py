"""The command: tables beside the baseline, exit codes, accepting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.counted import command
from benchmarks.counted.baseline import Run, load, save
from benchmarks.counted.counters import CounterMissing
from benchmarks.counted.page import PAGE, markers, write_page
from benchmarks.counted.table import markdown_tables, rows_of, text_tables

ENVIRONMENT: dict[str, Any] = {
    "code": "interpreted",
    "machine": "x86_64",
    "python": "CPython 3.11.7",
    "build": "GCC 12.2.0",
    "libc": "glibc 2.36",
    "versions": {"msgpack": "1.1.0", "msgspec": "0.19.0"},
    "tools": {"instructions": "valgrind 3.19.0", "system calls": "strace 6.1"},
}
METRICS = {
    "bare echo/sequential 64 B/client instructions": 46_000.0,
    "bare echo/sequential 64 B/server instructions": 25_000.0,
    "bare echo/sequential 64 B/sum instructions": 71_000.0,
    "ours/sequential 64 B/client instructions": 101_000.0,
    "ours/sequential 64 B/server instructions": 41_000.0,
    "ours/sequential 64 B/sum instructions": 142_000.0,
    "ours/stream of 256 KiB chunks/sum instructions": 800_000.0,
    "ours/sequential 64 B/client system calls": 4.0,
    "ours/sequential 64 B/server system calls": 3.0,
    "ours/sequential 64 B/sum system calls": 7.0,
}
BEGIN, END = markers("interpreted")
NAMES = {"ours/sequential 64 B": {"epoll_wait": 3.0, "recvfrom": 2.0, "sendto": 2.0, "openat": -0.001}}


class Counted:
    """Stands in for the counting: runs with these metrics, and the files that the command writes."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.metrics = dict(METRICS)
        self.baseline = directory / "baseline.json"
        self.page = directory / "counted.md"
        self.page.write_text(f"# Counted\n\n{BEGIN}\nold\n{END}\n\nThe rest.\n")
        monkeypatch.setattr(command, "counted", lambda options: (Run(ENVIRONMENT, self.metrics), NAMES))
        monkeypatch.setattr(command, "load", lambda code: load(code, self.baseline))
        monkeypatch.setattr(command, "save", lambda run: save(run, self.baseline))
        monkeypatch.setattr(command, "write_page", lambda run, names: write_page(run, names, self.page))


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(tmp_path, monkeypatch)


def test_without_a_baseline_the_gate_is_shut_and_says_how_to_make_one(
    counted: Counted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([]) == 1
    assert "there is no baseline of interpreted code to compare with: run this with --accept" in capsys.readouterr().out


def test_accepting_makes_the_baseline_and_the_page_and_opens_the_gate(
    counted: Counted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--accept"]) == 0
    assert "accepted" in capsys.readouterr().out
    page = counted.page.read_text()
    assert page.startswith(f"# Counted\n\n{BEGIN}\nCPython 3.11.7 on x86_64, glibc 2.36, msgpack 1.1.0")
    assert page.endswith(f"{END}\n\nThe rest.\n")
    assert "old" not in page
    assert command.main([]) == 0
    assert "the gate is open" in capsys.readouterr().out


def test_a_cost_that_grew_shuts_the_gate_and_shows_in_the_table(
    counted: Counted, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main(["--accept"])
    counted.metrics["ours/sequential 64 B/server instructions"] *= 1.11
    capsys.readouterr()
    assert command.main([]) == 1
    told = capsys.readouterr().out
    assert "+11.0%" in next(line for line in told.splitlines() if line.startswith("ours/sequential"))
    assert "grown: ours/sequential 64 B/server instructions: 41,000 before, 45,510 now (+11.0%)" in told
    assert "the gate is shut" in told


def test_a_selection_does_not_miss_the_rest(counted: Counted) -> None:
    command.main(["--accept"])
    counted.metrics = {name: cost for name, cost in METRICS.items() if "stream" not in name}
    assert command.main(["--only", "sequential"]) == 0
    assert command.main([]) == 1


def test_a_selection_is_not_accepted(counted: Counted, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--accept", "--only", "sequential"]) == 2
    assert capsys.readouterr().err == "--accept counts everything: leave --only and --count out\n"
    assert not counted.baseline.exists()


def test_what_cannot_be_counted_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(options: object) -> object:
        raise CounterMissing("valgrind is not installed: apt-get install -y valgrind")

    monkeypatch.setattr(command, "counted", missing)
    assert command.main([]) == 2
    assert capsys.readouterr().err == "valgrind is not installed: apt-get install -y valgrind\n"


def test_an_unknown_row_is_refused_before_anything_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--only", "sequental"]) == 2
    assert "no workload has 'sequental' in its name" in capsys.readouterr().err


def test_rows_have_the_ratio_to_their_limit() -> None:
    rows = {row.name: row for row in rows_of(METRICS, "instructions")}
    assert rows["ours/sequential 64 B"].ratio == 2.0
    assert rows["bare echo/sequential 64 B"].ratio is None
    stream = rows["ours/stream of 256 KiB chunks"]
    assert (stream.client, stream.server, stream.ratio) == (None, None, None)


def test_tables_name_the_system_calls() -> None:
    assert text_tables(METRICS, names=NAMES).splitlines()[-1].split("  ")[-1] == "epoll_wait 3, recvfrom 2, sendto 2"
    assert "| ours/sequential 64 B | 4.00 | 3.00 | 7.00 |  | epoll_wait 3, recvfrom 2, sendto 2 |" in markdown_tables(
        METRICS, NAMES
    )


def test_a_page_without_markers_is_not_touched(tmp_path: Path) -> None:
    page = tmp_path / "counted.md"
    page.write_text("# Counted\n")
    with pytest.raises(ValueError, match="lacks the markers"):
        write_page(Run(ENVIRONMENT, METRICS), NAMES, page)
    assert page.read_text() == "# Counted\n"


@pytest.mark.parametrize("code", ["interpreted", "compiled"])
def test_the_page_has_the_baselines_tables(code: str) -> None:
    begin, end = markers(code)
    part = PAGE.read_text().partition(begin)[2].partition(end)[0]
    accepted = load(code)
    if accepted is None:
        assert part.strip() == "Not counted yet."
        return
    for table in ("Instructions", "Allocations"):
        rows = [line for line in section(markdown_tables(accepted.metrics, {}), table) if line]
        assert [line for line in section(part, table) if line] == rows


def section(text: str, heading: str) -> list[str]:
    return text.partition(f"### {heading}\n")[2].partition("\n###")[0].splitlines()
