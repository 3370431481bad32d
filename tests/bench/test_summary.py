"""From moments to series."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.samples import recording
from virtagent.bench.clocks import estimate_clock
from virtagent.bench.load import Recording
from virtagent.bench.result import CallSeries
from virtagent.bench.summary import (
    BLOCKS,
    INTERVALS,
    Cost,
    Plan,
    connect_phases,
    summarise,
)
from virtagent.bench.timer import SECOND


def summarised(plan: Plan, rounds: list[Recording], cost: Cost, *, same_machine: bool, **options: Any) -> CallSeries:
    clocks = [estimate_clock([each.samples], same_machine=same_machine) for each in rounds]
    return summarise(plan, rounds, cost, clocks, **options)


PLAN = Plan(name="latency", size=64)


def test_phases_add_up_to_the_latency() -> None:
    series = summarised(PLAN, [recording(queue=5000)], Cost(), same_machine=True)
    assert series.latency is not None
    parts = ("queue", "wire_out", "callee_queue", "handler", "wire_back")
    assert sum(series.phases[name].mean for name in parts) == pytest.approx(series.latency.mean)
    assert series.phases["queue"].mean == 5000
    assert series.phases["callee_queue"].mean == 1000
    assert series.phases["wire"].mean == pytest.approx(
        series.phases["wire_out"].mean + series.phases["wire_back"].mean, rel=1e-6
    )
    assert series.latency.percentiles["50"] == pytest.approx(55_000, rel=0.05)


def test_phases_are_told_apart_through_another_clock_too() -> None:
    series = summarised(PLAN, [recording(offset=123_456_789_000)], Cost(), same_machine=False)
    assert series.clock is not None
    assert series.clock.method == "round trips"
    assert series.phases["wire_out"].percentiles["50"] == pytest.approx(20_000, rel=0.1)
    assert series.phases["wire_back"].percentiles["50"] == pytest.approx(20_000, rel=0.1)


def test_each_round_has_a_clock_of_its_own() -> None:
    """A guest may have been restored from a snapshot between two rounds."""
    rounds = [recording(offset=10**12, seed=1), recording(offset=5 * 10**12, seed=2)]
    series = summarised(PLAN, rounds, Cost(), same_machine=False)
    assert series.phases["wire_out"].max < 100_000


def test_rounds_are_joined_and_their_blocks_kept_apart() -> None:
    series = summarised(PLAN, [recording(seed=1), recording(seed=2), recording(seed=3)], Cost(), same_machine=True)
    assert series.count == 18_000
    assert series.seconds == pytest.approx(9, rel=0.01)
    assert Counter(block.round for block in series.blocks) == {0: 10, 1: 10, 2: 10}
    starts = [each.start for each in series.time_line]
    assert starts == sorted(starts)
    assert starts[-1] < 9
    assert sum(each.count for each in series.time_line) == 18_000


@settings(max_examples=15, deadline=None)
@given(calls=st.integers(0, 2500), rounds=st.integers(1, 4))
def test_blocks_and_time_line_hold_what_there_is(calls: int, rounds: int) -> None:
    made = [recording(calls=calls, seed=each) for each in range(rounds)]
    series = summarised(PLAN, made, Cost(), same_machine=True)
    assert series.count == calls * rounds == sum(each.count for each in series.time_line)
    assert len(series.blocks) <= BLOCKS
    assert len(series.time_line) <= INTERVALS
    assert all(block.values["p50"] > 0 and block.values["rate"] > 0 for block in series.blocks)
    if calls:
        assert series.achieved == pytest.approx(calls / 3.0, rel=0.01)
    else:
        assert (series.latency, series.phases, series.achieved, series.clock) == (None, {}, 0.0, None)


def test_a_block_has_a_p99_only_if_it_holds_enough_calls_for_one() -> None:
    few = summarised(PLAN, [recording(calls=600)], Cost(), same_machine=True)
    many = summarised(PLAN, [recording(calls=6600)], Cost(), same_machine=True)
    assert not any("p99" in block.values for block in few.blocks)
    assert all("p99" in block.values for block in many.blocks)


def test_cpu_is_told_per_call_and_left_out_where_it_is_not_known() -> None:
    cost = Cost(here=0.6, there=None, rss_here=1, rss_there=None)
    series = summarised(PLAN, [recording()], cost, same_machine=True)
    assert series.cpu_here == pytest.approx(0.6 / 6000)
    assert series.cpu_there is None
    assert Cost(here=1.0, there=1.0).per(0) == (None, None)


def test_calls_in_flight_are_ordered_by_when_they_should_have_been_made() -> None:
    made = Recording(begin=0, end=SECOND, last=SECOND, made=40)
    for number in reversed(range(40)):
        sent = number * 10_000_000
        made.samples.add(sent, sent, (sent, sent, sent), sent + (100 if number < 20 else 900))
    series = summarised(PLAN, [made], Cost(), same_machine=True)
    assert [each.max for each in series.time_line if each.count] == sorted(
        each.max for each in series.time_line if each.max
    )


def test_an_open_loop_that_did_not_keep_its_rate_says_so() -> None:
    made = recording()
    plan = Plan(name="latency", rate=2000.0, arrivals="constant")
    assert summarised(plan, [made], Cost(), same_machine=True).sustained
    made.overdue = True
    assert not summarised(plan, [made, recording()], Cost(), same_machine=True).sustained
    assert summarised(PLAN, [made], Cost(), same_machine=True).sustained  # a closed loop asks for no rate


def test_a_connect_is_made_of_opening_and_the_first_answer() -> None:
    made = Recording(begin=0, end=SECOND, last=SECOND)
    for number in range(20):
        sent = number * 1_000_000
        opened = sent + 300
        made.samples.add(sent, sent, (opened, opened, opened), opened + 200)
    series = summarised(Plan(name="connect"), [made], Cost(), same_machine=True, split=connect_phases)
    assert {name: each.mean for name, each in series.phases.items()} == {"open": 300, "first_answer": 200}
