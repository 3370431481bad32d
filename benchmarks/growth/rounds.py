"""All points of the chosen curves, round by round, and the curves that come of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from benchmarks.growth.fit import Fit, Verdict, fit_exponent, is_defect, judge, tolerance_of
from benchmarks.growth.metric import Curve, Metric
from benchmarks.growth.one_point import PointFailed, measure_point

__all__ = ["Grown", "Measured", "grown", "measure_all", "metric_key"]

Points = dict[str, dict[int, list[float]]]
"""For each metric of a curve: x to the values of the rounds."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured.

    Attributes:
        points: of each curve, by name.
        rounds: each round's metrics under their flat names.
        failed: a line for each point that could not be measured.
        seconds: how long it took.
    """

    points: dict[str, Points] = field(default_factory=dict)
    rounds: list[dict[str, float]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Grown:
    """How one metric of a curve grows."""

    curve: Curve
    metric: Metric
    points: dict[int, list[float]]
    fit: Fit
    verdict: Verdict

    @property
    def is_defect(self) -> bool:
        """It grows faster than it may."""
        return is_defect(self.verdict, self.metric.expected)


def metric_key(curve: Curve, name: str, x: int) -> str:
    """A metric's flat name, such as "ours/calls 1000/open_s"."""
    return f"ours/{curve.name} {x}/{name}"


def measure_all(
    curves: Iterable[Curve],
    *,
    quick: bool,
    rounds: int,
    told: Callable[[str], None],
    measure: Callable[[Curve, int], dict[str, float]] = measure_point,
) -> Measured:
    """Measure; rounds are interleaved, so that a machine that slows down slows every point.

    Args:
        curves: which.
        quick: only the points of a quick run.
        rounds: how many; a curve may need fewer.
        told: called with a line for each point.
        measure: measures one point; it may raise PointFailed, which keeps no other point from being measured.
    """
    begun = time.monotonic()
    curves = list(curves)
    points: dict[str, Points] = {curve.name: {} for curve in curves}
    taken: list[dict[str, float]] = []
    failed: list[str] = []
    for number in range(rounds):
        this: dict[str, float] = {}
        for curve in curves:
            if number >= curve.rounds:
                continue
            for x in curve.quick if quick else curve.steps:
                since = time.monotonic()
                try:
                    found = measure(curve, x)
                except PointFailed as error:
                    failed.append(str(error))
                    told(f"round {number + 1}: {error}")
                    continue
                for name, value in found.items():
                    points[curve.name].setdefault(name, {}).setdefault(x, []).append(value)
                    this[metric_key(curve, name, x)] = value
                told(f"round {number + 1}: {curve.name} at {x:,}: {time.monotonic() - since:.1f} s")
        taken.append(this)
    return Measured(points, taken, failed, time.monotonic() - begun)


def grown(curve: Curve, points: Points) -> list[Grown]:
    """Fit and judge all metrics of a curve that have two points or more."""
    found = []
    for metric in curve.metrics:
        values = points.get(metric.name, {})
        if len(values) < 2:
            continue
        fit = fit_exponent(values, resolution=metric.resolution)
        found.append(Grown(curve, metric, values, fit, judge(fit, tolerance_of(metric), metric.expected)))
    return found
