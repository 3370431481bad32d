"""Streams as series."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.samples import stream_result
from virtagent.bench.streaming import STEP, StreamRecording, marked_seconds, steps, summarise_streams
from virtagent.bench.summary import BLOCKS, Cost


def marked(*pairs: tuple[float, int]) -> StreamRecording:
    made = StreamRecording()
    for seconds, count in pairs:
        made.add(count, round(seconds * 1e9))
    return made


def test_marks_are_no_closer_than_a_step() -> None:
    made = StreamRecording()
    for number in range(1000):
        made.add(1, number * 1_000_000)
    assert made.bytes == 1000
    assert len(made.marks) == 1_000_000_000 // STEP
    assert all(count == moment // 1_000_000 + 1 for moment, count in made.marks)


@given(st.lists(st.tuples(st.integers(0, 10**8), st.integers(1, 10**6)), max_size=200), st.integers(1, 50))
def test_steps_cover_the_marks_in_order_and_are_no_more_than_wanted(gaps: list[tuple[int, int]], wanted: int) -> None:
    made, now = StreamRecording(), 0
    for gap, count in gaps:
        now += gap
        made.add(count, now)
    found = steps(made, wanted)
    assert len(found) <= wanted
    assert all(each.seconds > 0 and each.count > 0 for each in found)
    assert all(first.start + first.seconds <= second.start + 1e-9 for first, second in pairwise(found))


def test_the_rate_is_the_receivers() -> None:
    made = marked(*((number / 100, 1_000_000) for number in range(100)))
    made.seconds = 2.0  # what was written in one second took two to arrive
    series = summarise_streams("to guest", "to guest", 1_000_000, [made], Cost(here=0.2, there=0.4))
    assert series.achieved == pytest.approx(50e6)
    assert series.cpu_here == pytest.approx(0.2 / 100e6)
    assert series.cpu_there == pytest.approx(0.4 / 100e6)


def test_a_stream_that_was_cut_short_tells_what_came_so_far() -> None:
    series = summarise_streams("x", "from guest", 1, [marked((0, 10), (1, 10), (2, 10))], Cost())
    assert (series.bytes, series.seconds, series.achieved) == (30, 2.0, 15.0)


def test_a_stream_of_nothing_has_no_rate() -> None:
    series = summarise_streams("x", "from guest", 1, [StreamRecording()], Cost())
    assert (series.achieved, series.blocks, series.time_line) == (0.0, [], [])
    assert marked_seconds(StreamRecording()) == 0


def test_blocks_are_for_comparisons() -> None:
    (series,) = stream_result(rate=1e9).streams
    assert BLOCKS // 2 <= len(series.blocks) <= BLOCKS
    assert all(block.values["rate"] == pytest.approx(1e9, rel=0.2) for block in series.blocks)
