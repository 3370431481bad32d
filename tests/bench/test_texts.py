"""Results in words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.samples import HERE, call_result, recording, stream_result
from virtagent.bench.clocks import estimate_clock
from virtagent.bench.compare import compare
from virtagent.bench.result import CallSeries
from virtagent.bench.summary import Cost, Plan, summarise
from virtagent.bench.texts import (
    call_cells,
    clock_note,
    comparison_cells,
    cpu_cells,
    environment_line,
    load_text,
    plain_text,
    stream_cells,
)


def series(plan: Plan | None = None, *, offset: int = 0, **options: Any) -> CallSeries:
    made = recording(offset=offset, **options)
    clock = estimate_clock([made.samples], same_machine=not offset)
    return summarise(plan or Plan(name="latency", size=64), [made], Cost(here=0.06), [clock])


def test_a_row_of_calls_holds_counts_percentiles_and_errors() -> None:
    cells = call_cells(series())
    assert cells[0] == "6,000"
    assert cells[1] == "2,000"
    assert cells[2].endswith(" µs")
    assert cells[6] == "-"  # p99.99 of 6,000 calls
    assert cells[-1] == "0"


def test_a_rate_that_was_asked_for_stands_beside_what_was_achieved() -> None:
    plan = Plan(name="latency", size=65536, rate=2000.0, arrivals="poisson", in_flight=512)
    assert call_cells(series(plan))[1] == "2,000 of 2,000"
    assert load_text(series(plan)) == (
        "echoes of 64 KiB, 2,000 calls/s by the clock (poisson, open loop), at most 512 in flight"
    )
    assert load_text(series()) == "echoes of 64 B, the next when one is answered (closed loop)"


def test_errors_are_told_by_their_class() -> None:
    made = recording(calls=200)
    made.samples.errors["Overloaded"] = 3
    found = summarise(Plan(name="x"), [made], Cost(), [None])
    assert call_cells(found)[-1] == "3 Overloaded"


def test_cpu_that_is_not_known_is_a_dash() -> None:
    assert cpu_cells(series()) == ["10.0 µs", "-"]


def test_a_row_of_a_stream_has_its_rate_and_cost() -> None:
    rate, total, seconds, chunk, here, there = stream_cells(stream_result(rate=5e8).streams[0])
    assert rate.endswith(" MB/s")
    assert total.endswith(" MiB")
    assert (seconds, chunk) == ("2.00 s", "64 KiB")
    assert here.endswith("/MB")
    assert there.endswith("/MB")


def test_it_is_said_how_the_two_ways_were_told_apart() -> None:
    assert clock_note(series()) == "clocks: both ends run on one machine and read the same clock"
    assert "estimated from the fastest round trips, taken to be equally long both ways" in clock_note(
        series(offset=10**9)
    )
    assert clock_note(summarise(Plan(name="x"), [recording()], Cost(), [None])) == ""


def test_a_difference_is_told_with_units_and_interval() -> None:
    (p50, *_) = compare(call_result(), call_result(recording(scale=1.2, seed=1)), fail_above=0.1).differences
    name, old, new, change, interval = comparison_cells(p50)
    assert name == "latency, p50"
    assert old.endswith(" µs")
    assert new.endswith(" µs")
    assert change.startswith(("+19", "+20"))
    assert " … " in interval
    (rate,) = compare(stream_result(), stream_result(seed=1), fail_above=0.1).differences
    assert comparison_cells(rate)[1].endswith(" MB/s")


def test_an_environment_is_a_line_of_what_it_knows() -> None:
    assert environment_line(HERE) == "Linux 6.1, 2 x a processor, CPython 3.11.7, asyncio loop"
    assert environment_line({}) == ""
    full = {**HERE, "cpu": "", "machine": "x86_64", "versions": {"virtagent": "0.1.0"}, "load": [0.5, 0, 0]}
    assert environment_line(full) == "Linux 6.1, 2 x x86_64, CPython 3.11.7, asyncio loop, virtagent 0.1.0, load 0.50"


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (5, "5"), ({"a": "1", "b": 2}, "a 1, b 2"), ([0.123, 2], "0.12, 2"), ("x", "x")]
)
def test_fields_are_one_line(value: Any, text: str) -> None:
    assert plain_text(value) == text
