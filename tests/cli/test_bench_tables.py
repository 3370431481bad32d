"""Tables of results, and the line that shows how far a measurement is."""

from __future__ import annotations

import pytest
from msgspec import structs

from tests.bench.samples import call_result, recording, stream_result
from virtagent.bench.compare import compare
from virtagent.bench.load import Recording
from virtagent.bench.result import Result
from virtagent.bench.streaming import StreamRecording
from virtagent.bench.summary import Plan
from virtagent.cli.bench_progress import Progress
from virtagent.cli.bench_run import unkept
from virtagent.cli.bench_tables import compared, reported


def widths(*numbers: int) -> Result:
    series = [
        structs.replace(each, name=f"{number} in flight", in_flight=number)
        for number in numbers
        for each in call_result().calls
    ]
    return structs.replace(call_result(), workload="throughput", calls=series)


def test_the_phases_of_few_series_are_all_shown_and_of_many_the_outermost() -> None:
    assert reported(widths(1, 8)).count("where the time goes, ") == 2
    text = reported(widths(1, 8, 64, 256))
    assert text.count("where the time goes, ") == 2
    assert "where the time goes, 1 in flight" in text
    assert "where the time goes, 256 in flight" in text
    assert text.count("CPU per call, ") == 4


def test_lines_are_not_cut_and_have_no_blanks_at_their_ends() -> None:
    text = reported(call_result(target="x" * 300))
    assert "x" * 300 in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_shares_of_the_phases_make_up_the_whole() -> None:
    lines = reported(call_result()).splitlines()
    shares = [int(line.split(" %")[0].split()[-1]) for line in lines if " % " in line]
    assert 98 <= sum(shares) <= 102


def test_a_stream_has_a_table_of_its_own() -> None:
    text = reported(stream_result())
    assert "from guest" in text
    assert "where the time goes" not in text


def test_a_run_that_ended_early_says_why() -> None:
    assert reported(call_result(interrupted="Ctrl-C")).startswith("latency of web1 (ended early: Ctrl-C)")


def test_a_rate_that_was_not_kept_has_no_row() -> None:
    made = recording()
    made.overdue = True
    result = call_result(made, plan=Plan(name="latency", rate=1e5, arrivals="constant"))
    assert "p99" not in reported(result)
    (line,) = unkept(result)
    assert line.startswith("latency: achieved 2,000 of 100,000 calls/s: this rate cannot be sustained here")
    assert unkept(structs.replace(result, interrupted="Ctrl-C")) == []
    assert unkept(call_result()) == []


def test_a_comparison_shows_verdicts_and_what_may_be_to_blame() -> None:
    old, new = call_result(), call_result(recording(scale=1.5, seed=1), here={"kernel": "Linux 7"})
    text = compared(compare(old, new, fail_above=0.05, names=("main", "branch")))
    assert "branch against main" in text
    assert "slower (fails)" in text
    assert "the environments differ in here.kernel, here.cpu" in text


@pytest.mark.parametrize(
    ("recording", "text"),
    [
        (None, "latency: 0 of 5 s"),
        (Recording(), "latency: 0 of 5 s, 0 calls"),
        (StreamRecording(bytes=3 << 20), "latency: 0 of 5 s, 3 MiB"),
    ],
)
def test_progress_tells_the_stretch_and_how_far_it_is(recording: Recording | StreamRecording | None, text: str) -> None:
    progress = Progress()
    progress.watch("latency", 5.0, recording)
    assert progress.text() == text


def test_progress_is_silent_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress():
        pass
    assert capsys.readouterr().err == ""
