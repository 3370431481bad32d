"""The exponent of a curve over its upper part, how sure it is, and the verdict.

Cost is ``a + b * x**k``. Where x is small, ``a`` hides the rest; so the slope of log(cost) over log(x) is taken over
the last :data:`UPPER` points alone, by least squares through the medians of the rounds. It is uncertain for two
reasons: the rounds differ (a bootstrap over them tells by how much that moves the slope), and the points do not lie
on a line (the slope's standard error tells that). Both together give the interval, of two standard errors to each side.

A curve is super-linear only where even the lower end of its interval is above 1 by more than the tolerance. Something
quadratic that makes up a third of the cost at the largest x, and so a tenth at the last but one, has a slope of 1.25.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from benchmarks.growth.metric import Expectation, Metric

__all__ = ["COUNTED", "TIMED", "Fit", "Tolerance", "Verdict", "fit_exponent", "is_defect", "judge", "tolerance_of"]

UPPER = 4
"""Points at the upper end that count: one and a half decades where steps are half decades."""

DRAWS = 400
"""Bootstrap samples: their spread is known to 4 %."""

MOST_DOUBT = 0.5
"""No noise makes something flat that has a larger exponent than this: it is measured again, not excused."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """By how much an exponent may exceed what is expected.

    Attributes:
        flat: above 0.
        linear: above 1.
    """

    flat: float
    linear: float


TIMED = Tolerance(flat=0.3, linear=0.25)
"""Of times and memory. Over the upper points, thirty-fold and more, caches and the heap's pages change the price of one
unit by a factor of two even where the work is the same: an exponent of 0.2."""

COUNTED = Tolerance(flat=0.1, linear=0.1)
"""Of counts. They repeat, but hash tables grow in steps and sorting has its logarithm."""


class Verdict(Enum):
    """How something grows."""

    FLAT = "flat"
    LINEAR = "linear"
    SUPER_LINEAR = "super-linear"


@dataclass(frozen=True, slots=True)
class Fit:
    """An exponent and its interval.

    Attributes:
        exponent: the slope over the upper part.
        error: its standard error.
        points: how many points it was taken over.
    """

    exponent: float
    error: float
    points: int

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self.exponent - 2 * self.error

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self.exponent + 2 * self.error


def slope(xs: Values, ys: Values) -> tuple[float, float]:
    """The least-squares slope of ys over xs, and its standard error by the scatter of the points."""
    x, y = xs - xs.mean(), ys - ys.mean()
    spread = float(x @ x)
    found = float(x @ y) / spread
    if len(xs) < 3:
        return found, 0.0
    rest = y - found * x
    return found, math.sqrt(float(rest @ rest) / (len(xs) - 2) / spread)


def fit_exponent(
    points: Mapping[int, Sequence[float]], *, resolution: float = 0.0, upper: int = UPPER, seed: int = 1
) -> Fit:
    """Fit the exponent of a curve.

    Args:
        points: x to the values of its rounds.
        resolution: values below this count as this; one that is not positive counts as the smallest number.
        upper: how many points at the upper end count.
        seed: of the bootstrap, so that one set of data has one verdict.

    Raises:
        ValueError: fewer than two points.
    """
    chosen = sorted(points)[-upper:]
    if len(chosen) < 2:
        raise ValueError(f"an exponent takes two points or more, not {len(chosen)}")
    least = max(resolution, np.finfo(np.float64).tiny)
    logs = [np.log(np.maximum(np.asarray(points[x], dtype=np.float64), least)) for x in chosen]
    xs = np.log(np.asarray(chosen, dtype=np.float64))
    exponent, scatter = slope(xs, np.array([np.median(each) for each in logs]))
    random = np.random.default_rng(seed)
    drawn = np.array([np.median(random.choice(each, (DRAWS, len(each))), axis=1) for each in logs])
    centred = xs - xs.mean()
    moved = float(np.std(centred @ drawn / (centred @ centred)))
    return Fit(exponent, math.hypot(scatter, moved), len(chosen))


def judge(fit: Fit, tolerance: Tolerance, expected: Expectation) -> Verdict:
    """The verdict; what the interval leaves open is as expected, up to a slope of :data:`MOST_DOUBT`."""
    if fit.low > 1 + tolerance.linear:
        return Verdict.SUPER_LINEAR
    in_doubt = expected == "flat" and fit.low <= tolerance.flat and fit.exponent <= MOST_DOUBT
    return Verdict.FLAT if fit.exponent <= tolerance.flat or in_doubt else Verdict.LINEAR


def tolerance_of(metric: Metric) -> Tolerance:
    """The tolerance for a metric."""
    return COUNTED if metric.counted else TIMED


def is_defect(verdict: Verdict, expected: Expectation) -> bool:
    """Whether something grows faster than it may."""
    return verdict is Verdict.SUPER_LINEAR or (expected == "flat" and verdict is not Verdict.FLAT)
