"""The pictures of a page: each draws one side of one or several results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from virtagent.bench.distribution import buckets
from virtagent.bench.result import CallSeries, Result, StreamSeries
from virtagent.bench.texts import PHASES
from virtagent.bench.units import bytes_per_second, duration, number

__all__ = ["FEWEST_CALLS", "FEWEST_STEPS", "PANELS", "Panel", "Run", "drawn_calls", "drawn_streams"]

FEWEST_CALLS = 100
"""Calls of a series below which its distribution has no shape."""

FEWEST_STEPS = 5
"""Steps of a stream's time line below which it shows nothing."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D", "#666666")
"""Okabe and Ito's, told apart by colour-blind people, too."""

STYLES = ("-", "--", ":", "-.")

PHASE_COLOURS = dict(
    zip(PHASES, ("#E69F00", "#0072B2", "#CC79A7", "#D55E00", "#56B4E9", "#0072B2", "#56B4E9"), strict=True)
)

SHOWN_PART = 0.995

LEVELS = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)


@dataclass(frozen=True, slots=True)
class Run:
    """A result, and what to call it."""

    label: str
    result: Result


Draw: TypeAlias = "Callable[[Axes, Sequence[Run]], None]"


@dataclass(frozen=True, slots=True)
class Panel:
    """A picture.

    Attributes:
        applies: whether these results have something to show in it.
    """

    title: str
    applies: Callable[[Sequence[Run]], bool]
    draw: Draw


def drawn_calls(result: Result) -> list[CallSeries]:
    """The series of calls that have a shape: enough calls, and the rate that was asked for."""
    return [each for each in result.calls if each.count >= FEWEST_CALLS and each.sustained and each.latency is not None]


def drawn_streams(result: Result) -> list[StreamSeries]:
    """The streams that lasted long enough to have a course."""
    return [each for each in result.streams if len(each.time_line) >= FEWEST_STEPS]


def lines(runs: Sequence[Run], *, few: bool = False) -> Iterator[tuple[CallSeries, str, str, str]]:
    """Each series of calls with its label, colour and line style: a colour for a series, a style for a run.

    With one series in each run the colour tells the run.

    Args:
        few: of more than four series, only the first, the middle and the last.
    """
    names = list(dict.fromkeys(each.name for run in runs for each in drawn_calls(run.result)))
    colours = palette(max(len(names), len(runs)) if len(names) == 1 else len(names))
    chosen = {names[0], names[len(names) // 2], names[-1]} if few and len(names) > 4 else set(names)
    for number_, run in enumerate(runs):
        for each in drawn_calls(run.result):
            place = names.index(each.name) if len(names) > 1 else number_
            label = " ".join(([] if len(runs) == 1 else [f"{run.label}:"]) + [each.name])
            if each.name in chosen:
                yield each, label, colours[place], STYLES[number_ % len(STYLES)]


def palette(count: int) -> list[str]:
    """So many colours that can be told apart; of many, neighbours are alike and far ones are not."""
    if count <= len(COLOURS):
        return list(COLOURS)
    scale = colormaps["turbo"]
    return [to_hex(scale(0.05 + 0.9 * place / (count - 1))) for place in range(count)]


def cumulative(axes: Axes, runs: Sequence[Run]) -> None:
    """Which part of the calls was answered within a time; the scale spreads the slow ones out."""
    deepest = 2.0
    for series, label, colour, style in lines(runs):
        assert series.latency is not None
        values, counts = buckets(series.latency)
        part = np.cumsum(counts) / counts.sum()
        nines = -np.log10(np.maximum(1 - part, 0.5 / counts.sum()))
        deepest = max(deepest, float(nines[-1]))
        axes.plot(values, nines, style, color=colour, label=label, drawstyle="steps-post")
    axes.set_xscale("log")
    times(axes, "x")
    shown = [level for level in LEVELS if level == 0 or -np.log10(1 - level) <= deepest]
    axes.yaxis.set_major_locator(FixedLocator([0.0 if not level else float(-np.log10(1 - level)) for level in shown]))
    axes.set_yticklabels([f"{level * 100:g} %" for level in shown])
    axes.set_ylim(0, deepest * 1.03)
    axes.set_xlabel("latency")
    axes.set_ylabel("calls answered within it")
    legend(axes)


def histogram(axes: Axes, runs: Sequence[Run]) -> None:
    """How often each latency occurred; the slowest, which the other pictures show, would squeeze the rest."""
    for series, label, colour, style in lines(runs):
        assert series.latency is not None
        values, counts = buckets(series.latency)
        last = values[np.searchsorted(np.cumsum(counts), SHOWN_PART * counts.sum())]
        edges = np.geomspace(max(values[0], 1), max(last, values[0] + 1) * 1.001, 81)
        heights, _ = np.histogram(values, bins=edges, weights=counts)
        axes.stairs(heights / counts.sum() * 100, edges, color=colour, linestyle=style, label=label, linewidth=1.3)
    axes.set_xscale("log")
    times(axes, "x")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("latency, but for the slowest 0.5 %")
    axes.set_ylabel("calls, %")
    legend(axes)


def course(axes: Axes, runs: Sequence[Run]) -> None:
    """Latency over time: the median as a line, up to the p99 as a shade, the slowest as dots; gaps had no calls."""
    for series, label, colour, style in lines(runs, few=True):
        start = [each.start + each.seconds / 2 for each in series.time_line]
        middle, high, slowest = (
            [each or math.nan for each in column]
            for column in zip(*((each.p50, each.p99, each.max) for each in series.time_line), strict=True)
        )
        axes.plot(start, middle, style, color=colour, label=f"{label}: p50, to p99, max", linewidth=1.3)
        axes.fill_between(start, middle, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(start, slowest, ".", color=colour, alpha=0.5, markersize=2.5)
    axes.set_yscale("log")
    times(axes, "y")
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds since the measurement began")
    axes.set_ylabel("latency")
    legend(axes)


def phases(axes: Axes, runs: Sequence[Run]) -> None:
    """What the latency is made of: mean times, which add up."""
    rows = [(label, series) for series, label, _, _ in lines(runs)]
    seen: set[str] = set()
    for place, (_, series) in enumerate(rows):
        left = 0.0
        for name, text in PHASES.items():
            if name not in series.phases or not series.phases[name].mean:
                continue
            width = series.phases[name].mean
            axes.barh(
                place,
                width,
                left=left,
                color=PHASE_COLOURS[name],
                label=None if name in seen else text,
                height=0.6 if len(rows) > 1 else 0.3,
            )
            seen.add(name)
            left += width
        axes.annotate(duration(left), (left, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.invert_yaxis()
    axes.margins(x=0.15, y=0.08 if len(rows) > 2 else 0.5)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    axes.set_xlabel("mean")
    legend(axes)


def widths(axes: Axes, runs: Sequence[Run]) -> None:
    """Calls per second against calls in flight."""
    for place, run in enumerate(runs):
        found = sorted(drawn_calls(run.result), key=lambda each: each.in_flight)
        axes.plot(
            [each.in_flight for each in found],
            [each.achieved for each in found],
            "o" + STYLES[place % len(STYLES)],
            color=COLOURS[place % len(COLOURS)],
            label=run.label,
        )
    ticks = sorted({each.in_flight for run in runs for each in drawn_calls(run.result)})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(each) for each in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.set_xlabel("calls in flight")
    axes.set_ylabel("calls per second")
    legend(axes)


def streams(axes: Axes, runs: Sequence[Run]) -> None:
    """Bytes per second over time."""
    place = 0
    for number_, run in enumerate(runs):
        for each in drawn_streams(run.result):
            label = (f"{run.label}: " if len(runs) > 1 else "") + f"{each.name}, {bytes_per_second(each.achieved)}"
            axes.plot(
                [step.start + step.seconds / 2 for step in each.time_line],
                [step.count / step.seconds for step in each.time_line],
                STYLES[number_ % len(STYLES)],
                color=COLOURS[place % len(COLOURS)],
                label=label,
                linewidth=1.3,
            )
            place += 1
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: bytes_per_second(value)))
    axes.set_xlabel("seconds since the measurement began")
    legend(axes)


def times(axes: Axes, which: str) -> None:
    """Ticks of a logarithmic axis of times, with units; 1, 2 and 5 of each decade where there is room."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_data_interval()
    decades = np.log10(max(high, 1) / max(low, 1))
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)))
    axis.set_minor_locator(LogLocator(subs=tuple(range(1, 10))))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: ""))


def short(nanoseconds: float) -> str:
    """A round time without needless digits: "50 µs"."""
    for unit, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")):
        if nanoseconds >= unit * 0.999:
            return f"{nanoseconds / unit:g} {name}"
    return ""


def legend(axes: Axes) -> None:
    """Below the picture, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        longest = max(map(len, labels))
        columns = 1 if longest > 45 else 2 if longest > 22 else 3
        axes.legend(
            handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns, frameon=False, fontsize=8
        )


def any_calls(runs: Sequence[Run]) -> bool:
    """Whether there are calls to show."""
    return any(drawn_calls(run.result) for run in runs)


def several_widths(runs: Sequence[Run]) -> bool:
    """Whether calls were made in closed loops of several widths."""
    return any(len({each.in_flight for each in drawn_calls(run.result) if each.loop == "closed"}) > 1 for run in runs)


PANELS = (
    Panel("Calls per second", several_widths, widths),
    Panel("How many calls are answered how fast", any_calls, cumulative),
    Panel("How often each latency occurs", any_calls, histogram),
    Panel("Latency over time", any_calls, course),
    Panel("Where the time goes", any_calls, phases),
    Panel("Streams", lambda runs: any(drawn_streams(run.result) for run in runs), streams),
)
