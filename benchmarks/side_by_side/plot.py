"""The plot of a result: one panel for each statistic, one line for each library, asyncio beside uvloop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.side_by_side.result import Figure, Result, SubjectRecord
from benchmarks.side_by_side.tables import CALLS, PAYLOADS, Column

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["write_plot"]

PANELS = (CALLS[0], CALLS[3], CALLS[4], PAYLOADS[0], PAYLOADS[1], PAYLOADS[2])
COLORS = {"ours": "#d1495b", "limit": "#8d99ae", "peer": "#1d3557"}
MARKERS = {"uvloop": "D"}
ROLES = {"ours": "ours", "limit": "limits", "peer": "other libraries"}


def write_plot(result: Result, path: Path) -> None:
    """Write it as SVG; the same result gives the same file."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    rows = len({subject.peer for subject in result.subjects})
    with mpl.rc_context({"svg.hashsalt": "virtagent", "font.size": 9, "axes.titlesize": 11}):
        figure, axes = plt.subplots(3, 2, figsize=(13, 1.5 + 0.85 * rows), layout="constrained")
        for column, axis in zip(PANELS, axes.flat, strict=True):
            panel(result, column, axis)
        legend(axes.flat[0])
        figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")
        plt.close(figure)


def panel(result: Result, column: Column, axis: Axes) -> None:
    """One statistic: the best library on top."""
    lines: dict[str, list[tuple[SubjectRecord, Figure]]] = {}
    for subject in result.subjects:
        figure = result.figure(f"{subject.name}/{column.metric}")
        if figure is not None and figure.value > 0:
            lines.setdefault(subject.peer, []).append((subject, figure))
    sign = 1 if column.better == "lower" else -1
    ordered = sorted(lines, key=lambda peer: min(sign * figure.value for _, figure in lines[peer]), reverse=True)
    for place, peer in enumerate(ordered):
        points = lines[peer]
        axis.plot([figure.value for _, figure in points], [place] * len(points), color="#cccccc", zorder=1)
        for subject, figure in points:
            color = COLORS.get(subject.role, "black")
            axis.plot([figure.low, figure.high], [place, place], color=color, linewidth=2.5, alpha=0.35, zorder=2)
            axis.plot(figure.value, place, MARKERS.get(subject.loop, "o"), color=color, markersize=6, zorder=3)
        best = min((figure.value for _, figure in points), key=lambda value: sign * value)
        right = max(figure.high for _, figure in points)
        axis.annotate(
            column.show(best), (right, place), xytext=(8, 0), textcoords="offset points", va="center", fontsize=8
        )
    axis.set_yticks(range(len(ordered)), ordered)
    for label in axis.get_yticklabels():
        subjects = lines[label.get_text()]
        label.set_color(COLORS.get(subjects[0][0].role, "black"))
        label.set_fontweight("bold" if subjects[0][0].role == "ours" else "normal")
    axis.set_title(f"{column.title} ({column.better} is better)", loc="left")
    if ordered:
        axis.set_xscale("log")
    axis.margins(x=0.12, y=0.03)
    axis.grid(axis="x", which="both", color="#eeeeee")
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def legend(axis: Axes) -> None:
    """What colours and shapes mean."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=COLORS[role], marker="o", linestyle="", label=name) for role, name in ROLES.items()]
    handles += [
        Line2D([], [], color="black", marker="o", linestyle="", label="asyncio, or no event loop of asyncio's"),
        Line2D([], [], color="black", marker="D", linestyle="", label="uvloop"),
        Line2D([], [], color="black", linewidth=2.5, alpha=0.35, label="lowest to highest round"),
    ]
    axis.legend(handles=handles, loc="upper right", fontsize=8, frameon=True)
