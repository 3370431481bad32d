"""Which differences are real."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from tests.bench.samples import HERE, call_result, recording, stream_result
from virtagent.bench import compare as comparing
from virtagent.bench.compare import Comparison, Difference, compare, stretches
from virtagent.bench.load import Recording
from virtagent.bench.result import Result
from virtagent.bench.summary import Plan
from virtagent.errors import UsageError


def rounds(scale: float, *, seed: int, number: int = 1, **options: Any) -> Result:
    return call_result(*(recording(scale=scale, seed=seed + each, **options) for each in range(number)))


def by_metric(comparison: Comparison) -> dict[str, Difference]:
    return {each.metric: each for each in comparison.differences}


@pytest.mark.parametrize("number", [1, 5])
def test_a_real_slowdown_is_found(number: int) -> None:
    found = compare(rounds(1.0, seed=1, number=number), rounds(1.1, seed=100, number=number), fail_above=0.05)
    p50 = by_metric(found)["p50"]
    assert found.failed
    assert p50.verdict == "slower"
    assert p50.failed
    assert p50.low <= p50.ratio <= p50.high
    assert p50.ratio == pytest.approx(1.098, rel=0.02)  # 1 µs of the 50 does not scale


def test_a_slowdown_that_is_allowed_does_not_fail() -> None:
    found = compare(rounds(1.0, seed=1), rounds(1.1, seed=100), fail_above=0.2)
    assert by_metric(found)["p50"].verdict == "slower"
    assert not found.failed


def test_what_got_faster_never_fails() -> None:
    found = compare(rounds(1.1, seed=1), rounds(1.0, seed=100), fail_above=0.0)
    assert by_metric(found)["p50"].verdict == "faster"
    assert not found.failed


def test_the_same_again_is_no_difference() -> None:
    """In a hundred comparisons of like with like, no more than one in ten says otherwise, and none fails at 5 %."""
    noise = np.random.default_rng(7)
    wrong = 0
    for _ in range(100):
        old, new = ([np.exp(noise.normal(0, 0.03, 30))] for _ in range(2))
        found = comparing.difference("latency", "p50", old, new, stream=False, alpha=0.05, fail_above=0.05)
        wrong += found.verdict != "no difference"
        assert not found.failed
    assert wrong <= 10


def test_rounds_that_differ_widen_the_interval() -> None:
    """Five connections, each with a latency of its own: 5 % more is nothing, though single calls would say it is."""
    noise = np.random.default_rng(3)
    wrong = 0
    for _ in range(50):
        old, new = ([noise.normal(1, 0.1) * np.exp(noise.normal(0, 0.001, 6)) for _ in range(5)] for _ in range(2))
        found = comparing.difference("latency", "p50", old, new, stream=False, alpha=0.05, fail_above=0.05)
        wrong += found.failed
    assert wrong < 5


def test_neighbours_that_are_alike_make_no_false_alarm() -> None:
    alarms = 0
    for seed in range(10):
        made = [rounds(1.0, seed=each, correlation=0.9, calls=3000) for each in (seed, seed + 1000)]
        alarms += compare(*made, fail_above=0.05).failed
    assert alarms == 0


@settings(max_examples=30, deadline=None)
@given(st.floats(0.2, 5.0), st.integers(0, 1000))
def test_the_ratio_turned_round_is_the_comparison_turned_round(scale: float, seed: int) -> None:
    noise = np.random.default_rng(seed)
    old = [np.exp(noise.normal(0, 0.05, 20))]
    new = [scale * np.exp(noise.normal(0, 0.05, 20))]
    options: dict[str, Any] = {"stream": False, "alpha": 0.05, "fail_above": 0.0}
    there = comparing.difference("x", "p50", old, new, **options)
    back = comparing.difference("x", "p50", new, old, **options)
    assert there.ratio == pytest.approx(1 / back.ratio)
    assert there.low == pytest.approx(1 / back.high, rel=0.02)
    opposite = {"slower": "faster", "faster": "slower", "no difference": "no difference"}
    if there.verdict == "no difference" or not 0.9 < scale < 1.1:
        assert back.verdict in (opposite[there.verdict], "no difference")


def test_the_same_files_give_the_same_verdict() -> None:
    old, new = rounds(1.0, seed=1), rounds(1.02, seed=2)
    assert compare(old, new, fail_above=0.05) == compare(old, new, fail_above=0.05)


def test_less_throughput_is_slower() -> None:
    found = compare(stream_result(rate=1e9, seed=1), stream_result(rate=8e8, seed=2), fail_above=0.1)
    (rate,) = found.differences
    assert (rate.verdict, rate.failed, rate.stream) == ("slower", True, True)
    assert rate.ratio == pytest.approx(0.8, rel=0.03)
    assert not compare(stream_result(rate=8e8), stream_result(rate=1e9), fail_above=0.0).failed


def test_an_open_loops_rate_was_asked_for_and_is_not_compared() -> None:
    plan = Plan(name="latency", rate=2000.0, arrivals="constant")
    made = [call_result(recording(calls=8000, seed=seed), plan=plan) for seed in (1, 2)]
    assert by_metric(compare(*made, fail_above=0.05)).keys() == {"p50", "p99"}


def test_environments_that_differ_are_told() -> None:
    old, new = call_result(), call_result(there={**HERE, "python": "CPython 3.14.0"})
    assert compare(old, new, fail_above=0.05).environments == ["there.python"]


def test_loads_that_differ_are_not_compared() -> None:
    old, new = call_result(), call_result(plan=Plan(name="latency", size=4096))
    with pytest.raises(UsageError, match="the loads differ"):
        compare(old, new, fail_above=0.05)


def test_different_workloads_have_nothing_in_common() -> None:
    with pytest.raises(UsageError, match="latency and stream have no series in common"):
        compare(call_result(), stream_result(), fail_above=0.05)


@pytest.mark.parametrize("calls", [0, 1, 20])
def test_too_few_samples_are_no_basis(calls: int) -> None:
    with pytest.raises(UsageError, match="too few samples; measure for longer"):
        compare(call_result(), call_result(recording(calls=calls)), fail_above=0.05)


def test_a_rate_that_was_not_kept_compares_with_nothing() -> None:
    made = recording()
    made.overdue = True
    unkept = call_result(made, plan=Plan(name="latency", rate=5000.0))
    with pytest.raises(UsageError, match="branch did not keep the rate"):
        compare(call_result(), unkept, fail_above=0.05, names=("main", "branch"))


def test_a_result_without_positive_values_has_no_ratio() -> None:
    (series,) = call_result().calls
    blocks = [structs.replace(block, values=dict.fromkeys(block.values, 0.0)) for block in series.blocks]
    broken = structs.replace(call_result(), calls=[structs.replace(series, blocks=blocks)])
    with pytest.raises(UsageError, match="too few samples"):
        compare(broken, call_result(), fail_above=0.05)


@settings(max_examples=50, deadline=None)
@given(blocks=st.integers(1, 60), samples=st.integers(1, 20))
def test_a_sample_draws_as_many_blocks_as_there_are(blocks: int, samples: int) -> None:
    drawn = stretches(blocks, samples, np.random.default_rng(0))
    assert drawn.shape == (samples, blocks)
    assert drawn.min() >= 0
    assert drawn.max() < blocks
    if blocks >= 12:
        assert ((drawn[:, 1] - drawn[:, 0]) % blocks == 1).all()  # neighbours are drawn together


def test_a_change_that_nobody_notices_is_none() -> None:
    steady = [np.full(30, 1.0)], [np.full(30, 0.9995)]
    for fail_above in (0.0, 0.05):
        found = comparing.difference("x", "rate", *steady, stream=False, alpha=0.05, fail_above=fail_above)
        assert (found.verdict, found.failed) == ("no difference", False)


def test_an_empty_recording_is_no_failure_of_the_program() -> None:
    with pytest.raises(UsageError, match="too few samples"):
        compare(call_result(Recording()), call_result(Recording()), fail_above=0.05)
