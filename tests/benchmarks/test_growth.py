"""Curves are measured, judged and told of: each point for real but small; verdicts on values that are made up."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.growth import command
from benchmarks.growth.curves import CURVES
from benchmarks.growth.metric import Curve
from benchmarks.growth.one_point import PointFailed, measure_point
from benchmarks.growth.page import page
from benchmarks.growth.plot import plot
from benchmarks.growth.process import ROOT
from benchmarks.growth.rounds import measure_all, metric_key
from benchmarks.growth.table import amount, quantity
from benchmarks.growth.work import counted, instructions_in

MADE_OF_PROCESSES = [curve for curve in CURVES.values() if not curve.name.startswith("work")]
needs_valgrind = pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")

Exponent = Callable[[str], float]


def expected(curve: Curve) -> Exponent:
    """The exponent that each metric of a curve is to have."""
    return lambda name: 1.0 if curve.metric(name).expected == "linear" else 0.0


def made_up(path: Path, exponent: Callable[[Curve], Exponent] = expected) -> Path:
    """A file as ``--json`` writes it, of all curves, with these exponents."""
    values = {
        metric_key(curve, metric.name, x): 1000.0 * x ** exponent(curve)(metric.name)
        for curve in CURVES.values()
        for metric in curve.metrics
        for x in curve.steps
    }
    path.write_text(json.dumps({"environment": {}, "seconds": 1.0, "failed": [], "rounds": [values, values]}))
    return path


def quadratic_streams(curve: Curve) -> Exponent:
    """All as expected, but one metric."""
    return lambda name: 2.0 if (curve.name, name) == ("streams", "end_s") else expected(curve)(name)


@pytest.mark.parametrize("curve", MADE_OF_PROCESSES, ids=lambda curve: curve.name)
def test_each_curve_measures_what_it_says(curve: Curve) -> None:
    found = measure_point(curve, curve.quick[1])
    assert set(found) == {metric.name for metric in curve.metrics}
    assert all(value >= 0 or name == "rss_bytes" for name, value in found.items())


@needs_valgrind
def test_instructions_are_counted_by_workload(tmp_path: Path) -> None:
    found = counted(["notifications", "long_message"], 50, tmp_path)
    assert found["notifications"] > found["long_message"] > 1000  # fifty against one


def test_a_file_of_callgrind_without_a_total_is_told(tmp_path: Path) -> None:
    (tmp_path / "callgrind.2").write_text("events: Ir\n")
    for name in ("callgrind.2", "callgrind.4"):
        with pytest.raises(RuntimeError, match=name):
            instructions_in(tmp_path / name)


def test_the_steps_of_each_curve_are_geometric_and_reach_as_far_as_the_issue_asks() -> None:
    last = {name: curve.steps[-1] for name, curve in CURVES.items()}
    assert last["payload"] == 64 * 1024 * 1024
    assert last["calls"] == last["streams"] == 10_000
    assert last["guests"] == last["services"] == 1000
    for curve in CURVES.values():
        steps = curve.steps
        assert all(2 <= larger / smaller <= 4.1 for smaller, larger in itertools.pairwise(steps))


def test_a_point_that_fails_is_told_with_its_curve_and_size() -> None:
    with pytest.raises(PointFailed, match=r"(?s)nothing at 3: .*KeyError: 'nothing'"):
        measure_point(replace(CURVES["calls"], name="nothing"), 3)


def test_a_point_that_fails_keeps_no_other_from_being_measured() -> None:
    curve = CURVES["calls"]

    def measure(curve: Curve, x: int) -> dict[str, float]:
        if x == curve.quick[2]:
            raise PointFailed("no such luck")
        return {"open_s": float(x)}

    measured = measure_all([curve], quick=True, rounds=1, told=lambda line: None, measure=measure)
    assert measured.failed == ["no such luck"]
    assert set(measured.points["calls"]["open_s"]) == set(curve.quick) - {curve.quick[2]}


def test_rounds_are_interleaved_and_a_curve_has_no_more_than_it_needs() -> None:
    told: list[str] = []
    curves = [CURVES["calls"], CURVES["work"]]
    measured = measure_all(curves, quick=True, rounds=2, told=told.append, measure=lambda curve, x: {"open_s": 1.0})
    assert len(measured.points["calls"]["open_s"][1]) == 2
    assert len(measured.points["work"]["open_s"][CURVES["work"].quick[0]]) == 1
    assert [line.split(" at ")[0] for line in told if " at " in line][-1] == "round 2: calls"


def test_all_as_expected_is_success_with_a_page_and_a_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = made_up(tmp_path / "run.json")
    assert command.main(["--from", str(source), "--docs", str(tmp_path)]) == command.EXIT_OK
    out = capsys.readouterr().out
    told = (tmp_path / "growth.md").read_text()
    for curve in CURVES.values():
        assert curve.title in out
        assert f"## {curve.title}" in told
        for metric in curve.metrics:
            assert metric.title in out
            assert f"| {metric.title} |" in told
    assert "DEFECT" not in out + told
    assert (tmp_path / "growth.svg").read_text().startswith("<?xml")


def test_the_same_values_give_the_same_plot_so_that_a_commit_shows_what_has_changed(tmp_path: Path) -> None:
    measured, _ = command.read(made_up(tmp_path / "run.json"))
    curves = command.judged(measured)[:1]
    for name in ("one.svg", "two.svg"):
        plot(curves, tmp_path / name)
    assert (tmp_path / "one.svg").read_text() == (tmp_path / "two.svg").read_text()


def test_a_super_linear_curve_is_failure_and_told_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured, environment = command.read(made_up(tmp_path / "run.json", quadratic_streams))
    assert command.report(measured, environment, None) == command.EXIT_DEFECT
    assert "DEFECT: Open streams: end all is super-linear, expected linear" in capsys.readouterr().out
    assert "**super-linear (DEFECT)**" in page(command.judged(measured), environment, measured)


@pytest.mark.parametrize("content", ["", "[]", '{"rounds": 1}', '{"rounds": [{"a": 1}], "failed": [], "seconds": 1}'])
def test_a_file_that_is_no_run_is_told_in_one_line(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.json"
    file.write_text(content)
    assert command.main(["--from", str(file)]) == command.EXIT_FAILED
    assert capsys.readouterr().err.count("\n") == 1


def test_what_cannot_be_counted_here_is_told_and_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    curves, missing = command.chosen(None)
    assert curves == MADE_OF_PROCESSES
    assert len(missing) == 2
    assert all("apt-get install -y valgrind" in line for line in missing)


def test_a_part_or_a_quick_run_replaces_no_page() -> None:
    def docs(*arguments: str) -> Any:
        return command.docs_of(command.parser().parse_args(arguments))

    assert docs("--quick") is None
    assert docs("--only", "calls") is None
    assert docs() == ROOT / "docs"
    assert docs("--quick", "--docs", "/nowhere") == Path("/nowhere")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "s", "0 ps"),
        (1.5, "s", "1.50 s"),
        (0.0123, "s", "12.3 ms"),
        (123e-6, "s", "123 us"),
        (2.5e-9, "s", "2.50 ns"),
        (1536, "bytes", "1.50 KiB"),
        (48, "blocks", "48.0"),
        (12_345_678, "instructions", "12.3 M"),
    ],
)
def test_quantities_have_three_digits_and_a_unit(value: float, unit: Any, text: str) -> None:
    assert quantity(value, unit) == text


def test_amounts_are_in_binary_units_where_they_are_whole() -> None:
    assert [amount(x) for x in (1, 1000, 10_000, 1024, 64 << 20, 10_240_000)] == [
        "1",
        "1,000",
        "10,000",
        "1 Ki",
        "64 Mi",
        "10,000 Ki",
    ]
