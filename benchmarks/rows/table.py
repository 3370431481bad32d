"""The table of speeds, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.rows.target import Verdict

__all__ = ["metric_lines", "table_lines"]


def table_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """A line for each target that was measured; a last one tells how many were not, and which were missed."""
    measured = [each for each in verdicts if each.status != "not measured"]
    lines = [f"{'':56}{'ours':>16}{'limit':>16}  {'against':28}{'figure':>8}{'rounds':>16}  target"]
    lines += [line(each) for each in measured]
    missed = [each.target.name for each in measured if each.status == "MISSED"]
    lines += ["", f"missed: {'; '.join(missed) or 'none'}"]
    if len(measured) < len(verdicts):
        lines.append(
            f"not measured here: {len(verdicts) - len(measured)} targets (other rows, other loops, peers, guests)"
        )
    return lines


def line(verdict: Verdict) -> str:
    """One row."""
    target = verdict.target
    assert verdict.figure is not None
    assert verdict.low is not None
    assert verdict.high is not None
    figure = f"{verdict.figure:.2f}" if verdict.limit is not None else number(verdict.figure)
    spread = f"{short(verdict.low)} - {short(verdict.high)}"
    return (
        f"{target.name:56}{quantity(verdict.ours, target.unit):>16}{quantity(verdict.limit, target.unit):>16}  "
        f"{verdict.against:28}{figure:>8}{spread:>16}  {target.wanted}: {verdict.status}"
    )


def quantity(value: float | None, unit: str) -> str:
    """A value and its unit; nothing where there is none."""
    if value is None:
        return ""
    return f"{number(value)}{'' if not unit or unit.startswith('/') else ' '}{unit}"


def number(value: float) -> str:
    """As many digits as mean something."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def short(value: float) -> str:
    """One end of a spread."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def metric_lines(metrics: Mapping[str, float]) -> list[str]:
    """Every metric, by name."""
    return [f"{name:72}{number(value):>14}" for name, value in sorted(metrics.items())]
