"""Distributions."""

from __future__ import annotations

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from virtagent.bench.distribution import LONGEST, buckets, coarse, describe
from virtagent.errors import UsageError

VALUES = st.lists(st.integers(0, LONGEST), min_size=1, max_size=300)


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_percentiles_are_those_of_the_values_to_three_digits(values: list[int]) -> None:
    found = describe(np.array(values))
    assert found is not None
    ordered = sorted(values)
    for percentile, value in found.percentiles.items():
        rank = max(int(float(percentile) / 100 * len(values) + 0.5), 1)
        assert value == pytest.approx(ordered[rank - 1], rel=0.002, abs=2)
    assert (found.count, found.min, found.max) == (len(values), ordered[0], ordered[-1])
    assert found.mean == pytest.approx(sum(values) / len(values))


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_recording_coarse_values_in_bulk_is_recording_each(values: list[int]) -> None:
    found = describe(np.array(values))
    one_by_one = HdrHistogram(1, LONGEST, 3)
    for value in values:
        one_by_one.record_value(value)
    assert found is not None
    assert HdrHistogram.decode(found.hdr).equals(one_by_one)


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_a_histogram_is_read_again_as_it_was_written(values: list[int]) -> None:
    found = describe(np.array(values))
    assert found is not None
    upper, counts = buckets(found)
    assert counts.sum() == len(values)
    assert (np.diff(upper) > 0).all()
    assert upper[-1] == pytest.approx(max(values), rel=0.002, abs=2)


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (1, []),
        (2, ["50"]),
        (10, ["50", "90"]),
        (99, ["50", "90"]),
        (100, ["50", "90", "99"]),
        (1000, ["50", "90", "99", "99.9"]),
        (10_000, ["50", "90", "99", "99.9", "99.99"]),
    ],
)
def test_percentiles_that_so_few_values_cannot_tell_are_left_out(count: int, told: list[str]) -> None:
    found = describe(np.arange(count))
    assert found is not None
    assert list(found.percentiles) == told


def test_what_lies_outside_counts_as_the_nearest_that_can_be_recorded() -> None:
    found = describe(np.array([-5, LONGEST * 2]))
    assert found is not None
    assert (found.min, found.max) == (0, LONGEST)


def test_nothing_has_no_distribution() -> None:
    assert describe(np.array([], dtype=np.int64)) is None


@given(st.integers(0, LONGEST))
def test_coarse_values_are_close(value: int) -> None:
    (near,) = coarse(np.array([value])).tolist()
    assert value - value / 4096 <= near <= value


@pytest.mark.parametrize("hdr", ["", "bm8=", "not base64!", "HISTFAAAAB"])
def test_a_histogram_that_is_broken_is_refused(hdr: str) -> None:
    found = describe(np.arange(10))
    assert found is not None
    with pytest.raises(UsageError, match="cannot be read"):
        buckets(structs.replace(found, hdr=hdr))
