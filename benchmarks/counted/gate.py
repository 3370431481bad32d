"""The gate: no counted cost grows by more than a tenth without somebody's word."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from benchmarks.counted.baseline import Run, differences
from benchmarks.counted.metric import Metric

__all__ = ["TOLERANCE", "Change", "changes", "verdict"]

TOLERANCE = 0.10
"""A cost that grows by more than this fails; one that shrinks by more should be accepted, so that it stays small."""

TOLERANCE_OF_ANOTHER_PYTHON = 0.25
"""With another minor version of Python even the ratio to the limit is another one: between 3.11 and 3.13 the same code
differs by up to 15 %, since ours is more bytecode and the limits are more C."""

NOTHING = 0.01
"""What is counted less than once in a hundred calls counts as zero: a tenth of nothing is no bound."""

ROUNDING = 1e-9

Kind = Literal["grown", "shrunk", "kept", "new", "missing", "not compared"]

ACCEPT = "make counted-accept, and say why in the commit"


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one metric.

    Attributes:
        metric: its name.
        kind: "not compared": the environment differs, and there is no limit to compare with (limits themselves).
        old, new: the costs; None where there is none.
        differing: what is not as it was when the baseline was counted; if anything is, then ``old`` and ``new`` are
            not costs but how many times the limit's cost they are.
    """

    metric: str
    kind: Kind
    old: float | None
    new: float | None
    differing: tuple[str, ...] = ()

    @property
    def growth(self) -> float | None:
        """By how much it grew, relative to the old; None where that means nothing."""
        if self.kind == "not compared" or not self.old or self.new is None:
            return None
        return self.new / self.old - 1

    @property
    def failed(self) -> bool:
        """Whether the gate stays shut: a cost that nothing bounds is no better than one that grew."""
        return self.kind in ("grown", "new", "missing")

    def __str__(self) -> str:
        match self.kind:
            case "new":
                return f"{self.metric}: {self.new:,.6g} is not in the baseline: {ACCEPT}"
            case "missing":
                return f"{self.metric}: is in the baseline, and nothing counts it now: {ACCEPT}"
        unit = " times the limit" if self.differing else ""
        growth = f" ({self.growth:+.1%})" if self.growth is not None else ""
        text = f"{self.metric}: {self.old:,.6g}{unit} before, {self.new:,.6g}{unit} now{growth}"
        if self.kind == "grown":
            return f"{text}: mend it, or {ACCEPT}"
        return f"{text}: keep the gain with make counted-accept" if self.kind == "shrunk" else text


def changes(old: Run, new: Run, complete: Collection[tuple[str, str]] = ()) -> list[Change]:
    """What became of each metric of either run; sums only where no end was counted by itself.

    Args:
        complete: event loops and quantities of which all rows were counted, so that what only the baseline has of
            them is missing.
    """
    found = [_change(metric, old, new) for metric in _gated(new.metrics)]
    gone = [metric for metric in _gated(old.metrics) if metric.name not in new.metrics]
    return found + [
        Change(metric.name, "missing", old.metrics[metric.name], None)
        for metric in gone
        if (metric.loop, metric.quantity) in complete
    ]


def _gated(metrics: dict[str, float]) -> list[Metric]:
    found = [Metric.parse(name) for name in metrics]
    by_end = {(metric.row, metric.quantity) for metric in found if metric.end != "sum"}
    return [metric for metric in found if metric.end != "sum" or (metric.row, metric.quantity) not in by_end]


def _change(metric: Metric, old: Run, new: Run) -> Change:
    before, now = old.metrics.get(metric.name), new.metrics[metric.name]
    if before is None:
        return Change(metric.name, "new", None, now)
    differing = tuple(differences(old, new, metric.quantity, metric.loop))
    if not differing:
        return Change(metric.name, judge(before, now), before, now)
    limit = metric.limit.name if metric.limit else ""
    limit_before, limit_now = old.metrics.get(limit), new.metrics.get(limit)
    if not limit_before or not limit_now:
        return Change(metric.name, "not compared", before, now, differing)
    before, now = before / limit_before, now / limit_now
    tolerance = TOLERANCE if python_of(old) == python_of(new) else TOLERANCE_OF_ANOTHER_PYTHON
    return Change(metric.name, judge(before, now, tolerance), before, now, differing)


def python_of(run: Run) -> str:
    """The interpreter without its patch level."""
    return run.figure_of("python").rpartition(".")[0]


def judge(before: float, now: float, tolerance: float = TOLERANCE) -> Kind:
    """Whether a cost grew or shrank by more than the tolerance."""
    if max(before, now) < NOTHING:
        return "kept"
    if now > before * (1 + tolerance) + ROUNDING:
        return "grown"
    if now < before * (1 - tolerance) - ROUNDING:
        return "shrunk"
    return "kept"


def verdict(found: list[Change]) -> tuple[list[str], bool]:
    """What to tell of the changes, a line each, and whether the gate is open."""
    lines = [f"{change.kind}: {change}" for change in found if change.kind not in ("kept", "not compared")]
    differing = sorted({name for change in found for name in change.differing})
    if differing:
        skipped = sum(change.kind == "not compared" for change in found)
        lines.append(
            f"the baseline was counted with another {', '.join(differing)}: costs were compared by how many times"
            f" their limit they are; {skipped} that have no limit were not compared"
        )
    return lines, not any(change.failed for change in found)
