"""Pages and pictures: what is in them, and what is refused."""

from __future__ import annotations

import re
import struct
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from msgspec import structs

from tests.bench.samples import call_result, recording, stream_result
from virtagent.bench.compare import compare
from virtagent.bench.load import Recording
from virtagent.bench.panels import FEWEST_CALLS, PANELS, Run, lines, short
from virtagent.bench.plot import check_plot, save_plot
from virtagent.bench.result import Result
from virtagent.bench.summary import Plan
from virtagent.errors import UsageError


class Page(HTMLParser):
    """What a page refers to, and its text.

    Attributes:
        outside: addresses that something would be loaded from.
        open: tags that are not closed.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data") and not (value or "").startswith("#"):
                self.outside.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in ("meta", "link", "img", "br"):
            self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def unkept() -> Result:
    made = recording()
    made.overdue = True
    return call_result(made, plan=Plan(name="latency", rate=1e5, arrivals="constant"))


def widths() -> Result:
    first = call_result(plan=Plan(name="1 in flight", in_flight=1))
    second = call_result(recording(scale=4.0), plan=Plan(name="64 in flight", in_flight=64))
    return structs.replace(first, workload="throughput", calls=[*first.calls, *second.calls])


def test_a_page_needs_nothing_but_itself_and_holds_pictures_and_numbers(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert save_plot(str(path), [Run("this run", call_result())]) == []
    raw = path.read_text()
    page = Page(raw)
    assert page.outside == []
    assert page.open == []
    assert "url(http" not in raw
    assert "<script" not in raw
    assert raw.count("<svg") == 4
    for words in ("How many calls are answered how fast", "Latency over time", "99.99 %", "50.0 µs", "a processor"):
        assert words in page.text


def test_pictures_of_several_runs_show_each(tmp_path: Path) -> None:
    runs = [Run("main", call_result()), Run("branch", call_result(recording(scale=1.3)))]
    save_plot(str(tmp_path / "page.svg"), runs)
    text = " ".join(ElementTree.parse(tmp_path / "page.svg").getroot().itertext())
    assert "main: latency" in text
    assert "branch: latency" in text


def test_a_png_is_one_and_large_enough_to_read(tmp_path: Path) -> None:
    save_plot(str(tmp_path / "page.PNG"), [Run("this run", stream_result())])
    data = (tmp_path / "page.PNG").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert width >= 800
    assert height >= 500


@pytest.mark.parametrize(
    ("made", "titles"),
    [
        (call_result(), {"How many", "How often", "Latency over", "Where the"}),
        (widths(), {"Calls per", "How many", "How often", "Latency over", "Where the"}),
        (stream_result(), {"Streams"}),
    ],
)
def test_only_pictures_that_have_something_to_show_are_drawn(made: Result, titles: set[str]) -> None:
    shown = [panel.title for panel in PANELS if panel.applies([Run("x", made)])]
    assert {" ".join(title.split()[:2]) for title in shown} | {"Streams"} == titles | {"Streams"}
    assert ("Streams" in shown) == ("Streams" in titles)


def test_the_course_has_gaps_where_no_call_was_made(tmp_path: Path) -> None:
    made = recording()
    late = Recording(begin=made.begin, end=made.end + 2 * 10**9, last=made.last + 2 * 10**9)
    for column in ("intended", "sent", "received", "started", "finished", "answered"):
        moved = [
            each if number < 3000 else each + 2 * 10**9 for number, each in enumerate(getattr(made.samples, column))
        ]
        getattr(late.samples, column).extend(moved)
    result = call_result(late)
    assert any(each.count == 0 and each.p50 is None for each in result.calls[0].time_line)
    save_plot(str(tmp_path / "x.svg"), [Run("x", result)])


def test_of_many_series_each_has_a_colour_and_only_a_few_have_a_course() -> None:
    series = [
        structs.replace(each, name=f"{width} in flight", in_flight=width)
        for width in range(1, 13)
        for each in call_result().calls
    ]
    runs = [Run("x", structs.replace(call_result(), calls=series))]
    assert len({colour for _, _, colour, _ in lines(runs)}) == 12
    assert [each.in_flight for each, *_ in lines(runs, few=True)] == [1, 7, 12]


def test_with_one_series_in_each_run_the_colour_tells_the_run() -> None:
    runs = [Run(str(number), call_result()) for number in range(10)]
    assert len({colour for _, _, colour, _ in lines(runs)}) == 10


def test_a_comparison_is_shown_in_the_page(tmp_path: Path) -> None:
    old, new = call_result(), call_result(recording(scale=1.5))
    comparison = compare(old, new, fail_above=0.05, names=("main", "branch"))
    save_plot(str(tmp_path / "x.html"), [Run("main", old), Run("branch", new)], comparison)
    page = Page((tmp_path / "x.html").read_text())
    assert "branch against main" in page.text
    assert "slower" in page.text


def test_what_a_guest_or_a_file_is_called_is_shown_as_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script> $x^2$ & \"'"
    made = call_result(target=evil, url=evil, interrupted=evil, there={"kernel": evil, evil: evil})
    save_plot(str(tmp_path / "x.html"), [Run(evil, made), Run("b", call_result())])
    raw = (tmp_path / "x.html").read_text()
    assert "<script" not in raw
    assert evil in Page(raw).text
    save_plot(str(tmp_path / "x.png"), [Run(evil, made)])  # no formula is made of the name


@pytest.mark.parametrize("calls", [0, 1, FEWEST_CALLS - 1])
def test_too_few_calls_draw_nothing(calls: int, tmp_path: Path) -> None:
    runs = [Run("this run", call_result(recording(calls=calls)))]
    with pytest.raises(UsageError, match=f"latency: {calls} calls; a plot needs {FEWEST_CALLS}"):
        save_plot(str(tmp_path / "x.png"), runs)
    assert not (tmp_path / "x.png").exists()


def test_a_rate_that_was_not_kept_draws_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"achieved 2000 of 100000 calls/s, so its latencies mean nothing"):
        save_plot(str(tmp_path / "x.png"), [Run("this run", unkept())])
    assert not (tmp_path / "x.png").exists()


def test_a_series_without_shape_is_left_out_and_named_beside_one_that_has_it(tmp_path: Path) -> None:
    runs = [Run("good", call_result()), Run("bad", unkept())]
    (missing,) = save_plot(str(tmp_path / "x.html"), runs)
    assert missing.startswith("bad, latency: achieved 2000")
    assert missing in Page((tmp_path / "x.html").read_text()).text


def test_a_short_stream_draws_nothing() -> None:
    with pytest.raises(UsageError, match="steps of time; a plot needs 5"):
        check_plot([Run("x", stream_result(seconds=0.05))])


def test_nothing_measured_draws_nothing() -> None:
    with pytest.raises(UsageError, match="nothing was measured"):
        check_plot([Run("x", structs.replace(call_result(), calls=[]))])


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        save_plot(str(tmp_path / "missing" / "x.png"), [Run("x", call_result())])
    with pytest.raises(UsageError, match=re.escape("a plot is one of .html, .png, .svg")):
        save_plot(str(tmp_path / "x.pdf"), [Run("x", call_result())])


@pytest.mark.parametrize(("value", "text"), [(1, "1 ns"), (50_000, "50 µs"), (2e6, "2 ms"), (1e9, "1 s"), (0.1, "")])
def test_ticks_are_short(value: float, text: str) -> None:
    assert short(value) == text
