"""Schedules of an open loop."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.bench.arrivals import arrivals
from virtagent.bench.timer import SECOND

RATES = st.floats(0.5, 20_000)


@given(rate=RATES, seconds=st.floats(0.001, 0.05), begin=st.integers(0, 2**62))
def test_constant_arrivals_keep_the_rate_without_drift(rate: float, seconds: float, begin: int) -> None:
    end = begin + round(seconds * SECOND)
    moments = list(arrivals("constant", rate, begin, end))
    assert moments[0] == begin
    assert moments[-1] < end <= begin + round(len(moments) * SECOND / rate)
    assert all(abs(moment - begin - number * SECOND / rate) <= 1 for number, moment in enumerate(moments))


@given(rate=RATES, seconds=st.floats(0.001, 0.05), seed=st.integers(0, 1000))
def test_poisson_arrivals_lie_in_order_within_the_stretch_and_repeat_with_their_seed(
    rate: float, seconds: float, seed: int
) -> None:
    end = 5 + round(seconds * SECOND)
    moments = list(arrivals("poisson", rate, 5, end, seed=seed))
    assert all(5 <= moment <= end for moment in moments)
    assert all(first <= second for first, second in pairwise(moments))
    assert moments == list(arrivals("poisson", rate, 5, end, seed=seed))


@pytest.mark.parametrize("rate", [100.0, 5000.0])
def test_poisson_gaps_are_as_irregular_as_those_of_independent_clients(rate: float) -> None:
    gaps = np.diff(list(arrivals("poisson", rate, 0, round(20_000 / rate * SECOND)))) / SECOND
    assert gaps.mean() == pytest.approx(1 / rate, rel=0.05)
    assert gaps.std() == pytest.approx(1 / rate, rel=0.05)  # an exponential distribution's deviation is its mean
