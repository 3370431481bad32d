"""One figure that is to be reached, and what a run's rounds say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from benchmarks.rows.expression import Expression, MissingMetric

__all__ = ["Better", "Status", "Target", "Verdict", "judge"]

Better = Literal["lower", "higher"]

Status = Literal["met", "MISSED", "aim met", "aim missed", "shown", "not measured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A row of a table of speeds.

    Attributes:
        name: unique, for people.
        row: the row of the specification's table that it stands for.
        ours: our figure.
        limit: what it is divided by; None: it is judged by itself.
        better: which side of the target is the right one.
        must: what is to be reached; None: nothing has to be.
        aim: what would be better still, or (without ``must``) is aimed at.
        unit: of ``ours`` and ``limit``.
        measured_by: the package in ``benchmarks`` that measures it.
    """

    name: str
    row: str
    ours: Expression
    limit: Expression | None
    better: Better
    must: float | None = None
    aim: float | None = None
    unit: str = ""
    measured_by: Literal["rows", "side_by_side", "guest"] = "rows"

    def reached(self, figure: float, wanted: float) -> bool:
        """Whether a figure is on the right side of what is wanted."""
        return figure <= wanted if self.better == "lower" else figure >= wanted

    def status(self, figure: float) -> Status:
        """What a figure means. An aim beside a ``must`` changes nothing: it is told beside it."""
        if self.must is not None:
            return "met" if self.reached(figure, self.must) else "MISSED"
        if self.aim is not None:
            return "aim met" if self.reached(figure, self.aim) else "aim missed"
        return "shown"

    @property
    def wanted(self) -> str:
        """The target for people: ``<= 1.6, aim 1.4``."""
        sign = "<=" if self.better == "lower" else ">="
        must = f"{sign} {self.must:g}" if self.must is not None else ""
        aim = f"aim {sign} {self.aim:g}" if self.aim is not None else ""
        return ", ".join(filter(None, (must, aim)))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rounds say of a target.

    Attributes:
        ours, limit: medians over the rounds, in the target's unit; None: not measured, or there is none.
        against: the limit's subject.
        figure: what is judged: the median of the rounds' quotients (or values). A machine that drifts between rounds
            changes both sides of a quotient, so it is not the quotient of the medians.
        low, high: the smallest and the largest of the rounds' figures.
        status: what it means.
        missing: the metric that was not measured, where the status says so.
    """

    target: Target
    status: Status
    ours: float | None = None
    limit: float | None = None
    against: str = ""
    figure: float | None = None
    low: float | None = None
    high: float | None = None
    missing: str = ""


def judge(target: Target, rounds: Sequence[Mapping[str, float]]) -> Verdict:
    """Judge a target by the rounds in which all that it needs was measured."""
    ours, limits, figures = [], [], []
    against = missing = ""
    for metrics in rounds:
        try:
            own = target.ours.value(metrics)
            limit = None if target.limit is None else target.limit.value(metrics)
        except MissingMetric as error:
            missing = str(error)
            continue
        ours.append(own)
        if target.limit is None or limit is None:
            figures.append(own)
        elif limit > 0:
            limits.append(limit)
            figures.append(own / limit)
            against = target.limit.source(metrics)
    if not figures:
        return Verdict(target, "not measured", missing=missing or "any round")
    figure = median(figures)
    return Verdict(
        target,
        target.status(figure),
        ours=median(ours),
        limit=median(limits) if limits else None,
        against=against,
        figure=figure,
        low=min(figures),
        high=max(figures),
    )
