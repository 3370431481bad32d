"""Targets as data: expressions, judgements, and that all that is promised is there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.rows.expression import ASYNCIO_PEERS, Best, Metric, MissingMetric, Quotient
from benchmarks.rows.table import table_lines
from benchmarks.rows.target import Target, judge
from benchmarks.rows.targets import ROWS, TARGETS

OURS, LIMIT = Metric("ours/echo/p50_us"), Metric("bare echo/echo/p50_us")


def target(**given: object) -> Target:
    made: dict[str, object] = {"name": "echo", "row": "a row", "ours": OURS, "limit": LIMIT, "better": "lower"}
    return Target(**(made | given))  # type: ignore[arg-type]


def rounds(*pairs: tuple[float, float]) -> list[dict[str, float]]:
    return [{OURS.name: ours, LIMIT.name: limit} for ours, limit in pairs]


# -- what is promised ------------------------------------------------------------------------------------------------


def test_every_promised_row_has_a_target_that_must_be_reached() -> None:
    assert {each.row for each in TARGETS if each.must is not None} == set(ROWS)


def test_there_are_fifteen_promised_rows() -> None:
    assert len(set(ROWS)) == len(ROWS) == 15


def test_targets_have_names_of_their_own() -> None:
    names = [each.name for each in TARGETS]
    assert sorted(set(names)) == sorted(names)


def test_no_target_is_without_a_number() -> None:
    assert [each.name for each in TARGETS if each.must is None and each.aim is None] == []


def test_an_aim_is_never_easier_than_what_must_be_reached() -> None:
    both = [each for each in TARGETS if each.must is not None and each.aim is not None]
    assert both
    for each in both:
        assert each.must is not None
        assert each.aim is not None
        assert each.reached(each.aim, each.must), each.name


@pytest.mark.parametrize(
    ("name", "better", "must"),
    [
        ("sequential call / bare echo", "lower", 1.35),
        ("sequential call / best asyncio peer", "lower", 0.5),
        ("sequential call, uvloop / bare echo uvloop", "lower", 1.6),
        ("sequential call, uvloop / multiprocessing.connection", "lower", 1.3),
        ("64 in flight, inline", "higher", 0.6),
        ("64 in flight / best asyncio peer", "higher", 4),
        ("64 in flight / grpc.aio", "higher", 50),
        ("64 in flight, coroutine", "higher", 0.5),
        ("typed call, inline", "lower", 1.25),
        ("typed call, coroutine", "lower", 1.25),
        ("server CPU of a call", "lower", 2),
        ("server CPU / best asyncio peer", "lower", 0.2),
        ("p99 / p50", "lower", 1.3),
        ("1 MiB echo", "higher", 600),
        ("64 KiB echo / best peer", "higher", 1),
        ("1 GiB stream", "higher", 0.5),
        ("ping during a stream, p99", "lower", 0.6),
        ("1,000 notifications", "higher", 0.5),
        ("connect to first answer", "lower", 2),
        ("guest, ping / channel's echo", "lower", 2.5),
        ("ping / qemu-ga", "lower", 1),
        ("file read / qemu-ga", "higher", 10),
        ("start to first answer", "lower", 1.6),
        ("idle RSS", "lower", 25),
    ],
)
def test_the_numbers_are_the_promised_ones(name: str, better: str, must: float) -> None:
    (found,) = [each for each in TARGETS if each.name == name]
    assert (found.better, found.must) == (better, must)


# -- judging ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("better", "ours", "status"),
    [("lower", 20, "met"), ("lower", 21, "MISSED"), ("higher", 20, "met"), ("higher", 19, "MISSED")],
)
def test_a_target_is_met_up_to_its_number_and_missed_beyond(better: str, ours: float, status: str) -> None:
    assert judge(target(better=better, must=2), rounds((ours, 10))).status == status


def test_an_aim_alone_is_told_as_an_aim() -> None:
    assert judge(target(aim=2), rounds((20, 10))).status == "aim met"
    assert judge(target(aim=2), rounds((21, 10))).status == "aim missed"


def test_an_aim_beside_a_must_does_not_make_a_met_target_missed() -> None:
    assert judge(target(must=2, aim=1), rounds((15, 10))).status == "met"


def test_a_missing_metric_is_not_measured_and_named() -> None:
    verdict = judge(target(must=2), [{OURS.name: 1.0}])
    assert verdict.status == "not measured"
    assert verdict.missing == LIMIT.name
    assert judge(target(must=2), []).status == "not measured"


def test_rounds_that_lack_a_metric_are_left_out() -> None:
    verdict = judge(target(must=2), [{OURS.name: 100.0}, *rounds((15, 10))])
    assert (verdict.status, verdict.figure, verdict.ours) == ("met", 1.5, 15)


def test_a_limit_of_zero_is_no_round() -> None:
    assert judge(target(must=2), rounds((1, 0))).status == "not measured"


def test_the_figure_is_the_median_of_the_rounds_quotients() -> None:
    # The machine became ten times slower after the first round; the quotient of the medians would be 10.
    verdict = judge(target(must=2), rounds((10, 10), (110, 100), (120, 100)))
    assert verdict.figure == 1.1
    assert (verdict.low, verdict.high) == (1.0, 1.2)
    assert (verdict.ours, verdict.limit, verdict.against) == (110, 100, "bare echo")


def test_a_figure_without_a_limit_is_judged_by_itself() -> None:
    verdict = judge(target(limit=None, must=25), rounds((24, 1), (26, 1), (22, 1)))
    assert (verdict.status, verdict.figure, verdict.limit, verdict.against) == ("met", 24, None, "")


@given(st.lists(st.tuples(st.floats(0.1, 1e6), st.floats(0.1, 1e6)), min_size=1, max_size=9), st.floats(0.1, 100))
def test_a_figure_is_within_its_rounds_and_its_status_follows_from_it(
    pairs: list[tuple[float, float]], must: float
) -> None:
    verdict = judge(target(must=must), rounds(*pairs))
    assert verdict.figure is not None
    assert verdict.low is not None
    assert verdict.high is not None
    assert verdict.low <= verdict.figure <= verdict.high
    assert verdict.status == ("met" if verdict.figure <= must else "MISSED")


# -- expressions -----------------------------------------------------------------------------------------------------


def test_a_quotient_divides_and_tells_what_is_missing() -> None:
    tail = Quotient(Metric("a/call/p99_us"), Metric("a/call/p50_us"))
    assert tail.value({"a/call/p99_us": 30, "a/call/p50_us": 20}) == 1.5
    with pytest.raises(MissingMetric, match="a/call/p50_us"):
        tail.value({"a/call/p99_us": 30})
    with pytest.raises(MissingMetric):
        tail.value({"a/call/p99_us": 30, "a/call/p50_us": 0})


CALLS = {
    "ours/call/p50_us": 1.0,
    "bare echo/call/p50_us": 0.5,
    "multiprocessing.connection/call/p50_us": 2.0,
    "dbus-fast/call/p50_us": 7.0,
    "dbus-fast uvloop/call/p50_us": 5.0,
    "grpc.aio/call/p50_us": 9.0,
    "grpc.aio/call/p99_us": 0.1,
}


@pytest.mark.parametrize(
    ("best", "source"),
    [
        (Best("call/p50_us", "lower"), "dbus-fast"),
        (Best("call/p50_us", "higher"), "grpc.aio"),
        (Best("call/p50_us", "lower", uvloop=True), "dbus-fast uvloop"),
        (Best("call/p50_us", "lower", uvloop=True, blocking=True), "multiprocessing.connection"),
    ],
)
def test_the_best_is_chosen_among_other_libraries_only(best: Best, source: str) -> None:
    assert best.source(CALLS) == source
    assert best.value(CALLS) == CALLS[f"{source}/call/p50_us"]


def test_a_run_without_asyncio_libraries_has_no_best_peer() -> None:
    alone = {
        name: value for name, value in CALLS.items() if name.split("/")[0] in ("ours", "multiprocessing.connection")
    }
    with pytest.raises(MissingMetric):
        Best("call/p50_us", "lower", blocking=True).value(alone)


def test_grpc_is_an_asyncio_library_and_multiprocessing_is_none() -> None:
    assert "grpc.aio" in ASYNCIO_PEERS
    assert "multiprocessing.connection" not in ASYNCIO_PEERS


# -- the table -------------------------------------------------------------------------------------------------------


def test_the_table_tells_what_was_missed_and_how_much_was_not_measured() -> None:
    verdicts = [
        judge(target(name="quick", must=2), rounds((15, 10), (16, 10))),
        judge(target(name="slow", must=1), rounds((15, 10))),
        judge(target(name="absent", must=1), []),
    ]
    lines = table_lines(verdicts)
    (quick,) = [line for line in lines if line.startswith("quick")]
    assert "<= 2: met" in quick
    assert "1.50 - 1.60" in quick
    assert "missed: slow" in lines
    assert not any(line.startswith("absent") for line in lines)
    assert lines[-1].startswith("not measured here: 1 ")
