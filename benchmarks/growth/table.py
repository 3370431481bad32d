"""The table, as text for a terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from benchmarks.growth.metric import Metric, Unit
from benchmarks.growth.rounds import Grown

__all__ = ["HEADINGS", "amount", "quantity", "row", "text_table"]

HEADINGS = ("", "smallest", "largest", "one more", "exponent", "verdict", "expected")

SCALES: dict[Unit, tuple[tuple[float, str], ...]] = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"), (1e-12, "ps")),
    "bytes": ((1024.0**2, "MiB"), (1024.0, "KiB"), (1.0, "B")),
    "blocks": ((1.0, ""),),
    "instructions": ((1e6, "M"), (1e3, "k"), (1.0, "")),
}


def quantity(value: float, unit: Unit) -> str:
    """A value with its unit, to three digits."""
    scale, name = next(((s, n) for s, n in SCALES[unit] if abs(value) >= s), SCALES[unit][-1])
    value /= scale
    digits = 0 if abs(value) >= 100 or value == 0 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {name}".rstrip()


def amount(x: int) -> str:
    """How much of what grows: "10,000", and bytes in binary units where they are whole."""
    for power, unit in ((20, "Mi"), (10, "Ki")):
        if x >= 1 << power and x % (1 << power) == 0:
            return f"{x >> power:,} {unit}"
    return f"{x:,}"


def each(metric: Metric, more: float, by: int) -> str:
    """What one more costs: ``more`` for ``by`` of them."""
    if not metric.per:
        return ""
    share = quantity(max(more, 0.0) / by, metric.unit)
    name = f" {metric.unit}" if metric.unit in ("instructions", "blocks") and share[-1].isdigit() else ""
    return f"{share}{name} a {metric.per}"


def row(grown: Grown) -> tuple[str, ...]:
    """One metric of a curve."""
    metric, low, high = grown.metric, min(grown.points), max(grown.points)
    smallest, largest = (max(median(grown.points[x]), 0.0) for x in (low, high))
    fit = grown.fit
    return (
        metric.title,
        quantity(smallest, metric.unit),
        quantity(largest, metric.unit),
        each(metric, largest - smallest, high - low),
        f"{fit.exponent:.2f} ({fit.low:.2f} to {fit.high:.2f})",
        grown.verdict.value + (" (DEFECT)" if grown.is_defect else ""),
        metric.expected,
    )


def span(found: Sequence[Grown]) -> str:
    """From where to where a curve goes."""
    xs = sorted({x for each in found for x in each.points})
    return f"{amount(xs[0])} to {amount(xs[-1])} {found[0].curve.axis}"


def text_table(curves: Iterable[Sequence[Grown]]) -> str:
    """All curves, for a terminal."""
    blocks = [(f"{found[0].curve.title}, {span(found)}", [row(each) for each in found]) for found in curves]
    widths = [max(len(line[i]) for _, lines in blocks for line in [*lines, HEADINGS]) for i in range(len(HEADINGS))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.ljust(width) if index in (0, 5, 6) else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()

    out = [line(HEADINGS)]
    for title, lines in blocks:
        out += ["", title, *map(line, lines)]
    return "\n".join(out)
