"""What a curve is: something that grows, and metrics that are to grow with it or to stay flat."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Curve", "Expectation", "Metric", "Unit"]

Expectation = Literal["flat", "linear"]
"""How a metric may grow at most: not at all, or in proportion to what grows."""

Unit = Literal["s", "bytes", "blocks", "instructions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One quantity that is measured at each point of a curve.

    Attributes:
        name: its name in the results.
        title: for people.
        unit: of its values.
        expected: how it may grow.
        counted: it is counted, not timed: two runs give the same, so that little tolerance is needed.
        resolution: values below this are the same: a clock's step, a page's noise.
        per: what "each" means where a total is divided by what grows, such as "call"; "": it is no total.
    """

    name: str
    title: str
    unit: Unit
    expected: Expectation
    counted: bool = False
    resolution: float = 0.0
    per: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One curve.

    Attributes:
        name: its name in the results and on the command line.
        title: for people.
        axis: what grows.
        steps: how much of it there is at each point.
        quick: the points of a quick run.
        metrics: what is measured; a point may lack some.
        measure: measures one point, in a process of its own: how much of it there is, and a directory for sockets.
        note: what a reader must know of the set-up.
        rounds: at most so many rounds, where more would give the same.
    """

    name: str
    title: str
    axis: str
    steps: tuple[int, ...]
    quick: tuple[int, ...]
    metrics: tuple[Metric, ...]
    measure: Callable[[int, Path], Awaitable[dict[str, float]]]
    note: str = ""
    rounds: int = 99

    def metric(self, name: str) -> Metric:
        """The metric of this name.

        Raises:
            KeyError: there is none.
        """
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise KeyError(f"the curve {self.name} has no metric {name!r}")
