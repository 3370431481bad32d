"""Pages and pictures of results: HTML with everything in it, PNG, SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from virtagent.bench.compare import Comparison
from virtagent.bench.page import page
from virtagent.bench.panels import FEWEST_CALLS, FEWEST_STEPS, PANELS, Panel, Run, drawn_calls, drawn_streams
from virtagent.errors import UsageError

__all__ = ["KINDS", "check_plot", "save_plot"]

KINDS = (".html", ".png", ".svg")

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "text.parse_math": False,
}

_PROLOGUE = re.compile(r"\A.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)


def check_plot(runs: Sequence[Run]) -> list[str]:
    """What cannot be drawn, and why: a line for each series, such as "latency: 12 calls; a plot needs 100".

    Raises:
        UsageError: nothing can be drawn.
    """
    missing = []
    for run in runs:
        calls, streams = drawn_calls(run.result), drawn_streams(run.result)
        for series in (each for each in run.result.calls if each not in calls):
            if not series.sustained:
                rates = f"achieved {series.achieved:.0f} of {series.rate or 0:g} calls/s"
                missing.append(f"{run.label}, {series.name}: {rates}, so its latencies mean nothing")
            else:
                missing.append(f"{run.label}, {series.name}: {series.count} calls; a plot needs {FEWEST_CALLS}")
        missing += [
            f"{run.label}, {each.name}: {len(each.time_line)} steps of time; a plot needs {FEWEST_STEPS}"
            for each in run.result.streams
            if each not in streams
        ]
    if not any(drawn_calls(run.result) or drawn_streams(run.result) for run in runs):
        raise UsageError(f"there is nothing to plot: {'; '.join(missing) or 'nothing was measured'}")
    return missing


def save_plot(path: str, runs: Sequence[Run], comparison: Comparison | None = None) -> list[str]:
    """Write a page (.html) or a picture (.png, .svg).

    Args:
        comparison: shown in a page as a table.

    Returns:
        What was left out, as :func:`check_plot` tells it.

    Raises:
        UsageError: nothing can be drawn, the name has another ending, or the file cannot be written.
    """
    missing = check_plot(runs)
    panels = [panel for panel in PANELS if panel.applies(runs)]
    kind = Path(path).suffix.lower()
    with mpl.rc_context(STYLE):
        if kind == ".html":
            pictures = [inline_svg(one_panel(panel, runs)) for panel in panels]
            data = page(runs, pictures, missing, comparison).encode()
        elif kind in KINDS:
            data = rendered(all_panels(panels, runs), kind[1:])
        else:
            raise UsageError(f"{path}: a plot is one of {', '.join(KINDS)}")
    try:
        Path(path).write_bytes(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return missing


def one_panel(panel: Panel, runs: Sequence[Run]) -> Figure:
    """A figure of one picture."""
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.set_title(panel.title)
    panel.draw(axes, runs)
    return figure


def all_panels(panels: Sequence[Panel], runs: Sequence[Run]) -> Figure:
    """A figure of all pictures, two in a row."""
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(7.2 * columns, 4.6 * rows + 0.4), layout="constrained")
    figure.suptitle(
        " · ".join(dict.fromkeys(f"virtagent bench {run.result.workload} of {run.result.target}" for run in runs)),
        fontsize=12,
        x=0.01,
        ha="left",
    )
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        axes.set_title(panel.title)
        panel.draw(axes, runs)
    for axes in grid[len(panels) :]:
        axes.remove()
    return figure


def rendered(figure: Figure, kind: str) -> bytes:
    """A figure as a file's bytes."""
    out = io.BytesIO()
    figure.savefig(out, format=kind, dpi=130, metadata={"Date": None} if kind == "svg" else None)
    return out.getvalue()


def inline_svg(figure: Figure) -> str:
    """A figure for the inside of a page, without what refers to elsewhere."""
    text = rendered(figure, "svg").decode()
    return _METADATA.sub("", _PROLOGUE.sub("", text, count=1))
