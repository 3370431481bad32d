"""Pictures of statistics: what is in them, and what is left out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

from virtagent.api.stats import CpuUse, NetworkUse, Pressure, Sample, Stall
from virtagent.bench.stats_plot import MOST_LINES, drawn, save_stats_plot
from virtagent.errors import UsageError

BEGUN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def sample(number: int, rates: dict[str, float] | None = None, percent: float | None = None) -> Sample:
    cpu = CpuUse(user=1.0, nice=0.0, system=1.0, idle=1.0, percent=percent)
    return Sample(
        number=number,
        time=BEGUN + timedelta(seconds=number),
        clock=100.0 + number,
        cpu=cpu,
        cpus={"0": cpu},
        network={
            name: NetworkUse(**dict.fromkeys(NetworkUse.__struct_fields__[:8], 0), receive_rate=rate, send_rate=0.0)
            for name, rate in (rates or {}).items()
        },
    )


def panel(samples: list[Sample], title: str) -> dict[str, list[float | None]]:
    return next(course for each, course in drawn(samples) if each.title == title)


def test_what_has_no_values_has_no_picture() -> None:
    assert [each.title for each, _ in drawn([sample(0), sample(1, percent=5.0)])] == ["Processors"]
    assert panel([sample(0), sample(1, percent=5.0)], "Processors") == {"all": [None, 5.0], "cpu 0": [None, 5.0]}


def test_only_the_busiest_interfaces_are_drawn_and_none_that_does_nothing() -> None:
    rates = {f"eth{number}": float(number) for number in range(20)}
    course = panel([sample(0), sample(1, rates)], "Network")
    assert list(course) == [f"eth{number} received" for number in range(20 - MOST_LINES, 20)]


def test_interfaces_that_all_do_nothing_are_drawn_as_that(tmp_path: Path) -> None:
    samples = [sample(number, {"lo": 0.0}) for number in range(3)]
    assert set(panel(samples, "Network")) == {"lo received", "lo sent"}
    save_stats_plot(str(tmp_path / "x.svg"), "web1", samples)


def test_a_resource_that_came_later_has_a_gap_before() -> None:
    stall = Stall(avg10=2.5, avg60=0.0, avg300=0.0, total=1.0)
    later = Sample(number=1, time=BEGUN, clock=1.0, pressure={"io": Pressure(some=stall)})
    course = panel([sample(0), later], "Time in which some task waited, of the last 10 s")
    assert course == {"io": [None, 2.5]}


def test_the_guests_name_and_the_time_stand_in_the_picture(tmp_path: Path) -> None:
    samples = [sample(number, percent=number * 10.0) for number in range(4)]
    save_stats_plot(str(tmp_path / "x.svg"), "web1 <&> $x$", samples)
    text = " ".join(ElementTree.parse(tmp_path / "x.svg").getroot().itertext())
    assert "web1 <&> $x$, 2026-01-02 03:04:00 to 03:04:03 UTC" in text
    save_stats_plot(str(tmp_path / "x.html"), "web1 <b>", samples)
    page = (tmp_path / "x.html").read_text()
    assert "web1 &lt;b&gt;" in page
    assert "src=" not in page


def test_nothing_to_plot_and_other_endings_are_refused(tmp_path: Path) -> None:
    samples = [sample(number, percent=1.0) for number in range(3)]
    with pytest.raises(UsageError, match="nothing to plot"):
        save_stats_plot(str(tmp_path / "x.svg"), "web1", [Sample(number=0, time=BEGUN, clock=0.0)] * 3)
    with pytest.raises(UsageError, match="a plot is one of"):
        save_stats_plot(str(tmp_path / "x.pdf"), "web1", samples)
    with pytest.raises(UsageError, match="cannot be written"):
        save_stats_plot("/nope/x.svg", "web1", samples)
