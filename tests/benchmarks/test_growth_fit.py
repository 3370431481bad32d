"""The exponent of a curve and its verdict, on curves that are known."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.growth.fit import COUNTED, TIMED, Fit, Tolerance, Verdict, fit_exponent, is_defect, judge, tolerance_of
from benchmarks.growth.metric import Metric

HALF_DECADES = (1, 3, 10, 32, 100, 316, 1000, 3162, 10_000)
ROUNDS = 3

exponents = st.floats(0, 3)
factors = st.floats(1e-9, 1e9)
seeds = st.integers(0, 2**32 - 1)


def curve(exponent: float, factor: float, noise: float = 0.0, seed: int = 0) -> dict[int, list[float]]:
    """``factor * x**exponent``, each value off by a normal error of its logarithm."""
    source = random.Random(seed)
    return {x: [factor * x**exponent * math.exp(source.gauss(0, noise)) for _ in range(ROUNDS)] for x in HALF_DECADES}


@given(exponents, factors)
def test_a_power_law_without_noise_gives_its_exponent(exponent: float, factor: float) -> None:
    fit = fit_exponent(curve(exponent, factor))
    assert fit.exponent == pytest.approx(exponent, abs=1e-6)
    assert fit.error == pytest.approx(0, abs=1e-6)
    assert fit.points == 4


@given(exponents, factors, seeds)
def test_noise_moves_the_exponent_little_and_the_interval_says_how_much(
    exponent: float, factor: float, seed: int
) -> None:
    fit = fit_exponent(curve(exponent, factor, noise=0.05, seed=seed))
    assert fit.exponent == pytest.approx(exponent, abs=0.12)
    assert 0 < fit.error < 0.15
    assert fit.low < fit.exponent < fit.high


@given(factors, seeds, st.sampled_from([TIMED, COUNTED]))
def test_what_is_linear_is_never_called_super_linear_for_five_percent_of_noise(
    factor: float, seed: int, tolerance: Tolerance
) -> None:
    noise = 0.05 if tolerance is TIMED else 0.005
    fit = fit_exponent(curve(1.0, factor, noise=noise, seed=seed))
    assert judge(fit, tolerance, "linear") is Verdict.LINEAR


@given(factors, seeds)
def test_what_is_flat_is_called_flat(factor: float, seed: int) -> None:
    fit = fit_exponent(curve(0.0, factor, noise=0.05, seed=seed))
    assert judge(fit, TIMED, "flat") is Verdict.FLAT


@given(st.floats(1.7, 3), factors, seeds)
def test_what_is_nearly_quadratic_is_called_super_linear(exponent: float, factor: float, seed: int) -> None:
    fit = fit_exponent(curve(exponent, factor, noise=0.05, seed=seed))
    assert judge(fit, TIMED, "linear") is Verdict.SUPER_LINEAR


@given(st.floats(1.15, 3), factors)
def test_what_is_counted_has_little_tolerance(exponent: float, factor: float) -> None:
    assert judge(fit_exponent(curve(exponent, factor)), COUNTED, "linear") is Verdict.SUPER_LINEAR


@given(st.floats(0, 1), factors)
@example(0.5, 1.0)
def test_linear_or_better_is_no_defect_where_linear_is_expected(exponent: float, factor: float) -> None:
    assert not is_defect(judge(fit_exponent(curve(exponent, factor)), TIMED, "linear"), "linear")


@given(st.floats(0.55, 3), factors)
def test_whatever_grows_is_a_defect_where_flat_is_expected(exponent: float, factor: float) -> None:
    assert is_defect(judge(fit_exponent(curve(exponent, factor)), TIMED, "flat"), "flat")


def test_a_constant_part_at_small_sizes_does_not_hide_what_grows_at_large_ones() -> None:
    points = {x: [1e4 + x**2] for x in HALF_DECADES}
    assert judge(fit_exponent(points), TIMED, "linear") is Verdict.SUPER_LINEAR


def test_a_quadratic_part_of_a_third_at_the_largest_size_is_seen_where_it_is_counted() -> None:
    points = {x: [2 * x + x * (x / 2000)] for x in (250, 500, 1000, 2000)}
    assert judge(fit_exponent(points), COUNTED, "linear") is Verdict.SUPER_LINEAR


def test_rounds_that_disagree_make_the_interval_wide_and_the_verdict_careful() -> None:
    points = {100: [0.1, 1.0, 9.0], 316: [0.5, 5.6, 50.0], 1000: [3.0, 31.0, 300.0], 3162: [20.0, 180.0, 1800.0]}
    fit = fit_exponent(points)
    assert fit.exponent > 1 + TIMED.linear
    assert judge(fit, TIMED, "linear") is not Verdict.SUPER_LINEAR


def test_values_below_the_resolution_are_the_same() -> None:
    points = {x: [x * 1e-6] for x in (1, 10, 100, 1000)}
    assert fit_exponent(points, resolution=0.01).exponent == 0


def test_zero_is_a_value_like_any_other() -> None:
    assert fit_exponent({x: [0.0, 0.0] for x in (1, 10, 100)}).exponent == 0


def test_the_same_data_have_the_same_interval() -> None:
    points = curve(1.0, 1.0, noise=0.2, seed=7)
    assert fit_exponent(points) == fit_exponent(points)


def test_two_points_are_enough_and_one_is_not() -> None:
    assert fit_exponent({1: [1.0], 10: [10.0]}).exponent == pytest.approx(1)
    with pytest.raises(ValueError, match="two points or more"):
        fit_exponent({1: [1.0]})


@pytest.mark.parametrize(
    ("fit", "linear", "flat"),
    [
        (Fit(1.25, 0.0, 4), Verdict.LINEAR, Verdict.LINEAR),
        (Fit(1.26, 0.0, 4), Verdict.SUPER_LINEAR, Verdict.SUPER_LINEAR),
        (Fit(1.4, 0.1, 4), Verdict.LINEAR, Verdict.LINEAR),
        (Fit(0.3, 0.0, 4), Verdict.FLAT, Verdict.FLAT),
        (Fit(0.31, 0.0, 4), Verdict.LINEAR, Verdict.LINEAR),
        (Fit(0.4, 0.06, 4), Verdict.LINEAR, Verdict.FLAT),
        (Fit(0.6, 0.5, 4), Verdict.LINEAR, Verdict.LINEAR),
        (Fit(-0.5, 0.0, 4), Verdict.FLAT, Verdict.FLAT),
    ],
)
def test_what_the_interval_leaves_open_is_as_expected(fit: Fit, linear: Verdict, flat: Verdict) -> None:
    assert judge(fit, TIMED, "linear") is linear
    assert judge(fit, TIMED, "flat") is flat


def test_counted_metrics_have_the_small_tolerance() -> None:
    timed = Metric(name="a_s", title="a", unit="s", expected="linear")
    counted = Metric(name="a_instructions", title="a", unit="instructions", expected="linear", counted=True)
    assert tolerance_of(timed) is TIMED
    assert tolerance_of(counted) is COUNTED
