"""docs/growth.svg: small multiples, both axes logarithmic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.growth.metric import Unit
from benchmarks.growth.rounds import Grown
from benchmarks.growth.table import amount

__all__ = ["plot"]

COLUMNS = 3
NAMES: dict[Unit, str] = {"s": "seconds", "bytes": "bytes", "blocks": "blocks", "instructions": "instructions"}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F", "#8C564B", "#9467BD")
"""Okabe and Ito's, which the colour-blind can tell apart, and three more."""

MARKERS = "osD^vPX*<>"


def plot(curves: Sequence[Sequence[Grown]], file: Path) -> None:
    """Draw one panel for each curve and unit, and write the file (its suffix tells the format)."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "growth"  # the same data give the same file
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text
    import matplotlib.pyplot as plt

    panels = panels_of(curves)
    rows = -(-len(panels) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(6.2 * COLUMNS, 5.0 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, found in zip(axes.flat, panels, strict=False):
        draw(axis, found)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)


def panels_of(curves: Sequence[Sequence[Grown]]) -> list[list[Grown]]:
    """What goes into one panel: the metrics of a curve that share a unit; counts of leftovers have no curve."""
    panels: dict[tuple[str, Unit], list[Grown]] = {}
    for found in curves:
        for each in found:
            if each.metric.unit != "blocks":
                panels.setdefault((each.curve.name, each.metric.unit), []).append(each)
    return list(panels.values())


def draw(axis: Any, found: Sequence[Grown]) -> None:
    """One panel: medians with the range of the rounds, and what is linear as a grey line."""
    curve = found[0].curve
    for index, each in enumerate(found):
        xs = sorted(each.points)
        least = each.metric.resolution
        ys = [max(median(each.points[x]), least) for x in xs]
        low = [y - max(min(each.points[x]), least) for x, y in zip(xs, ys, strict=True)]
        high = [max(*each.points[x], least) - y for x, y in zip(xs, ys, strict=True)]
        axis.errorbar(
            xs,
            ys,
            yerr=[[max(0.0, e) for e in low], [max(0.0, e) for e in high]],
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            markersize=4.5,
            linewidth=1.4,
            elinewidth=0.8,
            linestyle="--" if each.metric.expected == "flat" else "-",
            label=f"{each.metric.title}: {each.verdict.value} ({each.fit.exponent:.2f})",
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    draw_linear(axis, found)
    axis.set_title(curve.title, fontsize=12, fontweight="bold")
    axis.set_xlabel(curve.axis)
    label_steps(axis, sorted({x for each in found for x in each.points}))
    axis.set_ylabel(NAMES[found[0].metric.unit])
    axis.grid(visible=True, which="major", color="#dddddd", linewidth=0.7)
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)


def label_steps(axis: Any, xs: Sequence[int]) -> None:
    """Ticks where points are: every second one, the last one always, if there are many."""
    shown = list(xs)[::-1][:: 2 if len(xs) > 5 else 1]
    axis.set_xticks(shown, [amount(x) for x in shown])
    axis.set_xticks([], minor=True)


def draw_linear(axis: Any, found: Sequence[Grown]) -> None:
    """A line of slope 1 through the last point of the first metric that is to be linear."""
    linear = next((each for each in found if each.metric.expected == "linear"), None)
    if linear is None:
        return
    low, high = axis.get_xlim(), axis.get_ylim()
    last = max(linear.points)
    value = max(median(linear.points[last]), linear.metric.resolution)
    first = max(low[0], last * high[0] / value)
    axis.plot(
        [first, last], [value * first / last, value], color="#999999", linewidth=1, linestyle=":", label="slope 1"
    )
