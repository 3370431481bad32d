"""The other end's clock."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtagent.bench.clocks import estimate_clock, slope
from virtagent.bench.samples import Samples


def measured(
    offset: int,
    drift: float,
    *,
    calls: int = 400,
    seconds: float = 10.0,
    way: int = 20_000,
    back: int = 20_000,
    seed: int = 0,
) -> Samples:
    """Calls to a callee whose clock is ahead by ``offset`` and gets further ahead by ``drift`` ns a second."""
    noise = np.random.default_rng(seed)
    samples = Samples()
    for sent in np.linspace(1e12, 1e12 + seconds * 1e9, calls).astype(int).tolist():
        out, home = way + int(noise.exponential(30_000)), back + int(noise.exponential(30_000))
        there = sent + out + offset + round(drift * (sent - 1e12) / 1e9)
        samples.add(sent, sent, (there, there + 100, there + 1100), sent + out + 1100 + home)
    return samples


@settings(max_examples=25, deadline=None)
@given(offset=st.integers(-(10**12), 10**12), drift=st.floats(-100_000, 100_000), seed=st.integers(0, 100))
def test_offset_and_drift_are_found_within_the_bound_that_is_told(offset: int, drift: float, seed: int) -> None:
    samples = measured(offset, drift, seed=seed)
    clock = estimate_clock([samples], same_machine=False)
    assert clock is not None
    assert clock.method == "round trips"
    truth = offset + drift * (clock.at - 1e12) / 1e9
    assert abs(clock.offset - truth) <= clock.error
    sent = samples.column("sent")
    wire = clock.ours(samples.column("received"), sent) - sent
    assert abs(np.median(wire) - (20_000 + 30_000 * np.log(2))) < 15_000  # a drift of 100 ppm over 10 s would be 1 ms


def test_ways_of_unequal_length_are_wrong_by_no_more_than_the_bound() -> None:
    clock = estimate_clock([measured(5_000_000, 0, way=10_000, back=50_000)], same_machine=False)
    assert clock is not None
    assert 10_000 < abs(clock.offset - 5_000_000) <= clock.error


def test_one_machine_has_one_clock_and_nothing_is_estimated() -> None:
    clock = estimate_clock([measured(0, 0)], same_machine=True)
    assert clock is not None
    assert (clock.method, clock.offset, clock.drift, clock.error) == ("same clock", 0, 0, 0)


def test_one_machine_with_another_clock_is_not_believed() -> None:
    """As in a time namespace, or a peer that lies about its boot."""
    clock = estimate_clock([measured(7_000_000_000, 0)], same_machine=True)
    assert clock is not None
    assert clock.method == "round trips"


def test_calls_under_a_light_load_tell_the_clock_for_those_under_a_heavy_one() -> None:
    """Under load one way is longer than the other by milliseconds, which would pass for an offset."""
    light, heavy = measured(5_000_000, 0, seconds=3.0), measured(5_000_000, 0, seconds=3.0, way=4_000_000)
    alone = estimate_clock([heavy], same_machine=False)
    both = estimate_clock([light, heavy], same_machine=False)
    assert alone is not None
    assert both is not None
    assert abs(alone.offset - 5_000_000) > 1_000_000
    assert abs(both.offset - 5_000_000) <= both.error < 50_000
    assert abs(both.drift) < 20_000


def test_a_short_run_has_no_drift() -> None:
    clock = estimate_clock([measured(1000, 0, seconds=1.0)], same_machine=False)
    assert clock is not None
    assert clock.drift == 0


def test_without_calls_there_is_no_clock() -> None:
    assert estimate_clock([Samples()], same_machine=True) is None


def test_a_slope_needs_two_moments() -> None:
    assert slope(np.array([5]), np.array([1.0])) == 0
    assert slope(np.array([5, 5]), np.array([1.0, 2.0])) == 0
    assert slope(np.array([0, 10**9, 2 * 10**9]), np.array([0.0, 5.0, 10.0])) == pytest.approx(5)
