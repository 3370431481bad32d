"""Pictures of statistics over time."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from virtagent.api.stats import Sample
from virtagent.bench.panels import COLOURS, STYLES, legend
from virtagent.bench.plot import KINDS, STYLE, inline_svg, rendered
from virtagent.bench.units import bytes_per_second, size
from virtagent.errors import UsageError

__all__ = ["save_stats_plot"]

MOST_LINES = 8
"""Of devices or interfaces in one picture: the busiest ones."""

Course = dict[str, list[float | None]]
"""Values over time, by what they are of; None: there is no value at that moment."""


@dataclass(frozen=True, slots=True)
class StatsPanel:
    """A picture.

    Attributes:
        of: the values that it shows of these samples.
        text: a value with its unit.
        top: the highest value that there can be, or None.
    """

    title: str
    of: Callable[[Sequence[Sample]], Course]
    text: Callable[[float], str]
    top: float | None = None


def _percent(value: float) -> str:
    return f"{value:g} %"


def _cpu(samples: Sequence[Sample]) -> Course:
    course: Course = {"all": [None if each.cpu is None else each.cpu.percent for each in samples]}
    names = dict.fromkeys(name for each in samples for name in each.cpus)
    for name in names if len(names) <= MOST_LINES else ():
        course[f"cpu {name}"] = [each.cpus[name].percent if name in each.cpus else None for each in samples]
    return course


def _memory(samples: Sequence[Sample]) -> Course:
    course: Course = {
        "used": [None if each.memory is None else each.memory.used for each in samples],
        "cached": [None if each.memory is None else each.memory.cached for each in samples],
    }
    if any(each.swap is not None and each.swap.total for each in samples):
        course["swap"] = [None if each.swap is None else each.swap.used for each in samples]
    return course


def _pressure(samples: Sequence[Sample]) -> Course:
    names = dict.fromkeys(name for each in samples for name in each.pressure)
    return {
        name: [
            stall.avg10 if name in each.pressure and (stall := each.pressure[name].some) is not None else None
            for each in samples
        ]
        for name in names
    }


def _disks(samples: Sequence[Sample]) -> Course:
    names = dict.fromkeys(name for each in samples for name, disk in each.disks.items() if not disk.partition)
    course: Course = {}
    for name in names:
        found = [each.disks.get(name) for each in samples]
        course[f"{name} read"] = [None if each is None else each.read_rate for each in found]
        course[f"{name} write"] = [None if each is None else each.write_rate for each in found]
    return _busiest(course)


def _network(samples: Sequence[Sample]) -> Course:
    names = dict.fromkeys(name for each in samples for name in each.network)
    course: Course = {}
    for name in names:
        found = [each.network.get(name) for each in samples]
        course[f"{name} received"] = [None if each is None else each.receive_rate for each in found]
        course[f"{name} sent"] = [None if each is None else each.send_rate for each in found]
    return _busiest(course)


def _busiest(course: Course) -> Course:
    """Those that did most, in the order in which they were; those that did nothing only if none did anything."""
    sums = {name: sum(value or 0.0 for value in values) for name, values in course.items()}
    ranked = sorted(course, key=lambda name: -sums[name])[:MOST_LINES]
    return {name: course[name] for name in course if name in ranked and (sums[name] or not any(sums.values()))}


PANELS = (
    StatsPanel("Processors", _cpu, _percent, 100.0),
    StatsPanel("Memory", _memory, size),
    StatsPanel("Time in which some task waited, of the last 10 s", _pressure, _percent),
    StatsPanel("Disks", _disks, bytes_per_second),
    StatsPanel("Network", _network, bytes_per_second),
)


def drawn(samples: Sequence[Sample]) -> list[tuple[StatsPanel, Course]]:
    """The panels that have something to show, with it."""
    found = []
    for panel in PANELS:
        course = {
            name: values for name, values in panel.of(samples).items() if any(value is not None for value in values)
        }
        if course:
            found.append((panel, course))
    return found


def draw(axes: Axes, panel: StatsPanel, course: Course, seconds: Sequence[float]) -> None:
    """Draw one; gaps are where there is no value."""
    for place, (name, values) in enumerate(course.items()):
        axes.plot(
            seconds,
            [float("nan") if value is None else value for value in values],
            STYLES[place // len(COLOURS) % len(STYLES)],
            color=COLOURS[place % len(COLOURS)],
            label=name,
            linewidth=1.3,
        )
    axes.set_title(panel.title)
    axes.set_xlim(left=0)
    axes.set_ylim(0, panel.top)
    if not any(value for values in course.values() for value in values):
        axes.set_ylim(0, 1)
        axes.set_yticks([0])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: panel.text(value)))
    axes.set_xlabel("seconds")
    legend(axes)


def save_stats_plot(path: str, name: str, samples: Sequence[Sample]) -> None:
    """Write a page (.html) or a picture (.png, .svg).

    Args:
        name: of the guest.

    Raises:
        UsageError: there is nothing to show, the name has another ending, or the file cannot be written.
    """
    panels = drawn(samples)
    if not panels:
        raise UsageError("there is nothing to plot: no sample has any of cpu, memory, pressure, disks or network")
    seconds = [each.clock - samples[0].clock for each in samples]
    title = f"{name}, {samples[0].time:%F %T} to {samples[-1].time:%T} UTC"
    kind = Path(path).suffix.lower()
    with mpl.rc_context(STYLE):
        if kind == ".html":
            pictures = [inline_svg(_figure([panel], seconds)) for panel in panels]
            data = _page(title, pictures).encode()
        elif kind in KINDS:
            data = rendered(_figure(panels, seconds, title), kind[1:])
        else:
            raise UsageError(f"{path}: a plot is one of {', '.join(KINDS)}")
    try:
        Path(path).write_bytes(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def _figure(panels: Sequence[tuple[StatsPanel, Course]], seconds: Sequence[float], title: str = "") -> Figure:
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(7.2 * columns, 4.2 * rows + 0.4), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (panel, course) in zip(grid, panels, strict=False):
        draw(axes, panel, course, seconds)
    for axes in grid[len(panels) :]:
        axes.remove()
    return figure


def _page(title: str, pictures: Sequence[str]) -> str:
    """A page with everything in it."""
    heading = html.escape(title)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>'
        f"{heading}</title><style>body{{font:15px sans-serif;margin:2em}}svg{{max-width:100%;height:auto}}"
        f"div{{display:flex;flex-wrap:wrap;gap:1em}}</style></head><body><h1>{heading}</h1><div>"
        + "".join(f"<figure>{each}</figure>" for each in pictures)
        + "</div></body></html>\n"
    )
