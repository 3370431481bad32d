"""The table of speeds that are promised: ours, the limit, the ratio, the target, and whether it was met."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.rows.table import number, quantity
from benchmarks.rows.target import Status, Target, Verdict, judge
from benchmarks.side_by_side.result import Result

__all__ = ["speed_table", "summary_lines", "verdicts"]

NAMED: dict[Status, str] = {
    "met": "met",
    "MISSED": "**missed**",
    "aim met": "aims met",
    "aim missed": "aims missed",
    "not measured": "not measured",
}
REACHED: frozenset[Status] = frozenset({"met", "aim met"})
SHOWN = {"MISSED": "**MISSED**", "not measured": "**not measured**"}


def verdicts(result: Result, targets: Sequence[Target]) -> list[Verdict]:
    """What the rounds say of each target."""
    return [judge(target, result.rounds) for target in targets]


def summary_lines(found: Sequence[Verdict]) -> list[str]:
    """How many targets there are of each status, and the names of those that were not reached."""
    lines = []
    for status, name in NAMED.items():
        those = [verdict.target.name for verdict in found if verdict.status == status]
        names = "" if status in REACHED or not those else f": {'; '.join(those)}"
        lines.append(f"- {name}: {len(those)}{names}")
    return lines


def speed_table(found: Sequence[Verdict]) -> list[str]:
    """A row for each target, below the row of the specification that it stands for."""
    lines = [
        "| row | figure | ours | limit | ratio (lowest to highest) | target | |",
        "|---|---|---:|---:|---:|---|---|",
    ]
    told = ""
    for verdict in sorted(found, key=lambda verdict: order(found, verdict)):
        title = verdict.target.row if verdict.target.row != told else ""
        told = verdict.target.row
        lines.append(f"| {title} | {verdict.target.name} | " + " | ".join(cells(verdict)) + " |")
    return lines


def order(found: Sequence[Verdict], verdict: Verdict) -> int:
    """Targets of one row stand together, where the row's first stands."""
    return next(place for place, other in enumerate(found) if other.target.row == verdict.target.row)


def cells(verdict: Verdict) -> list[str]:
    target = verdict.target
    status = SHOWN.get(verdict.status, verdict.status)
    if verdict.figure is None or verdict.low is None or verdict.high is None:
        return ["", "", "", target.wanted, f"{status}: {verdict.missing}"]
    limit = f"{verdict.against} {quantity(verdict.limit, target.unit)}" if verdict.limit is not None else ""
    show = (lambda value: f"{value:.2f}") if verdict.limit is not None else number
    ratio = f"{show(verdict.figure)} ({show(verdict.low)} to {show(verdict.high)})"
    return [quantity(verdict.ours, target.unit), limit, ratio, target.wanted, status]
