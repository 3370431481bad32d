"""The page and the plot of a result: wins, losses and failures are all in it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.peers.roster import PEERS, subjects
from benchmarks.rows.expression import Metric
from benchmarks.rows.target import Target
from benchmarks.side_by_side.plot import write_plot
from benchmarks.side_by_side.report import BEGIN, END, NoMarkers, generated, write_page
from benchmarks.side_by_side.result import Result, SubjectRecord

LATENCY, RATE = "sequential 64 B/p50_us", "pipelined 64/calls_per_s"


def subject(name: str, role: str = "peer", loop: str = "asyncio") -> SubjectRecord:
    return SubjectRecord(name, name.removesuffix(" uvloop"), role, loop, "unix socket", "as it is", {"lib": "1.2"})


def target(name: str, metric: str, against: str, must: float) -> Target:
    return Target(
        name=name,
        row=f"row of {metric}",
        ours=Metric(f"ours/{metric}"),
        limit=Metric(f"{against}/{metric}"),
        better="lower",
        must=must,
        unit="us",
    )


TARGETS = (
    target("reached", LATENCY, "slow", 1.0),
    target("not reached", LATENCY, "quick", 1.0),
    target("of nobody", "guest ping/p50_us", "channel", 2.0),
)


@pytest.fixture
def result() -> Result:
    ours = [20.0, 30.0, 25.0]
    rounds = [
        {
            f"ours/{LATENCY}": own,
            f"ours/{RATE}": 100_000.0,
            f"ours uvloop/{LATENCY}": own / 2,
            f"quick/{LATENCY}": 10.0,
            f"quick/{RATE}": 50_000.0,
            f"slow/{LATENCY}": 100.0,
            f"slow uvloop/{LATENCY}": 5.0,
            f"bare/{LATENCY}": 15.0,
        }
        for own in ours
    ]
    failures = [{"broken": "it cannot be installed: no such wheel", "slow/pipelined 64": "KeyError: 'x'"}] * 3
    return Result(
        {
            "cpu": "a CPU",
            "cpus": 2,
            "python": "CPython 3.11.7",
            "date": "2026-01-02T03:04:05Z",
            "load": [0.5, 1.0, 2.0],
        },
        {},
        [
            subject("ours", "ours"),
            subject("ours uvloop", "ours", "uvloop"),
            subject("quick"),
            subject("slow"),
            subject("slow uvloop", loop="uvloop"),
            subject("broken"),
            subject("bare", "limit"),
        ],
        rounds,
        failures,
        61.0,
    )


def rows(lines: list[str], start: str) -> list[list[str]]:
    """The cells of all table rows whose first cell is this."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [cells for cells in found if cells[0] == start]


def line_of(lines: list[str], text: str) -> str:
    return next(line for line in lines if text in line)


def test_met_and_missed_targets_stand_beside_each_other_with_their_ratios(result: Result) -> None:
    lines = generated(result, "plot.svg", TARGETS)
    assert "| 25.0 us | slow 100.0 us | 0.25 (0.20 to 0.30) | <= 1 | met |" in line_of(lines, "| reached |")
    assert "| 2.50 (2.00 to 3.00) | <= 1 | **MISSED** |" in line_of(lines, "| not reached |")
    assert "- **missed**: 1: not reached" in lines
    assert "- met: 1" in lines


def test_a_target_that_was_not_measured_says_what_is_missing(result: Result) -> None:
    lines = generated(result, "plot.svg", TARGETS)
    assert "**not measured**: ours/guest ping/p50_us" in line_of(lines, "| of nobody |")
    assert "- not measured: 1: of nobody" in lines


def test_the_quickest_comes_first_and_what_failed_comes_last_with_its_reason(result: Result) -> None:
    lines = generated(result, "plot.svg", TARGETS)
    start = lines.index(line_of(lines, "| | loop | channel | p50"))
    names = [line.split("|")[1].strip() for line in lines[start + 2 : start + 9]]
    assert names == ["slow", "quick", "**ours**", "*bare*", "**ours**", "slow", "broken"]
    assert rows(lines, "broken")[0][3] == "**failed: it cannot be installed: no such wheel**"
    assert "- broken: failed in 3 of 3 rounds: it cannot be installed: no such wheel" in lines


def test_a_workload_that_failed_is_not_an_empty_cell(result: Result) -> None:
    lines = generated(result, "plot.svg", TARGETS)
    slow = next(cells for cells in rows(lines, "slow") if cells[1] == "asyncio")
    assert slow[3] == "100 ±0 %"
    assert slow[6] == "**failed**"


def test_losses_are_told_for_each_loop_by_themselves(result: Result) -> None:
    lines = generated(result, "plot.svg", TARGETS)
    assert "| p50, one CPU, us | ours | quick (2.50x) |" in lines
    assert "| p50, one CPU, us | ours uvloop | slow uvloop (2.50x) |" in lines
    assert "| 64 in flight, calls/s | ours | nobody |" in lines


def test_nothing_failed_is_said_too(result: Result) -> None:
    result.failures = [{}, {}, {}]
    lines = generated(result, "plot.svg", TARGETS)
    assert lines[lines.index("## What failed") + 2] == "Nothing."


def test_figures_of_one_round_have_no_spread(result: Result) -> None:
    result.rounds = result.rounds[:1]
    assert "±" not in "\n".join(generated(result, "plot.svg", TARGETS))


def test_every_table_has_as_many_cells_as_its_head(result: Result) -> None:
    width = 0
    for line in generated(result, "plot.svg", TARGETS):
        if not line.startswith("|"):
            width = 0
            continue
        cells = line.count("|")
        assert width in {0, cells}, line
        width = cells


def test_text_around_the_markers_is_kept(tmp_path: Path, result: Result) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_page(page, generated(result, "plot.svg", TARGETS))
    once = page.read_text()
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "old" not in once
    write_page(page, generated(result, "plot.svg", TARGETS))
    assert page.read_text() == once


def test_a_page_without_markers_is_left_alone(tmp_path: Path, result: Result) -> None:
    page = tmp_path / "page.md"
    page.write_text("mine\n")
    with pytest.raises(NoMarkers, match="has no place"):
        write_page(page, generated(result, "plot.svg", TARGETS))
    assert page.read_text() == "mine\n"


def test_the_plot_is_svg_and_the_same_for_the_same_result(tmp_path: Path, result: Result) -> None:
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    write_plot(result, first)
    write_plot(result, second)
    assert ElementTree.parse(first).getroot().tag.endswith("svg")
    assert first.read_bytes() == second.read_bytes()


def test_every_library_of_the_specification_is_measured() -> None:
    wanted = {
        "grpc.aio", "pycapnp", "rpyc", "zerorpc", "pyzmq", "thriftpy2 blocking", "thriftpy2 asyncio", "aiorpcX",
        "pynvim msgpack-RPC", "dbus-fast", "asyncssh", "uvicorn + httpx", "NATS", "multiprocessing.connection",
    }  # fmt: skip
    assert {peer.name for peer in PEERS if peer.role == "peer"} == wanted


def test_every_library_is_pinned_with_a_hash() -> None:
    lock = (Path(__file__).parents[2] / "benchmarks" / "peers" / "requirements.lock").read_text()
    for peer in PEERS:
        for name in peer.distributions:
            assert f"\n{name}==" in f"\n{lock}", name
    requirements = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert all(line.endswith("\\") for line in requirements), "a requirement without a hash"


def test_an_unknown_peer_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"no such peer: corba; there are .*grpc\.aio uvloop"):
        subjects(["corba"])


def test_a_peer_is_all_of_its_loops_and_a_subject_is_one() -> None:
    assert [each.name for each in subjects(["ours"])] == ["ours", "ours uvloop"]
    assert [each.name for each in subjects(["ours uvloop"])] == ["ours uvloop"]
