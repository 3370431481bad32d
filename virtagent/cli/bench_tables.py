"""Results of measurements as tables for people."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from virtagent.bench.compare import Comparison
from virtagent.bench.distribution import PERCENTILES
from virtagent.bench.result import CallSeries, Result
from virtagent.bench.texts import (
    PHASES,
    call_cells,
    clock_note,
    comparison_cells,
    environment_line,
    load_text,
    stream_cells,
)
from virtagent.bench.units import duration, size
from virtagent.cli.output import coloured
from virtagent.cli.text import one_line

__all__ = ["compared", "reported"]

WIDTH = 240
"""Columns that no table of ours needs: what is wider than the terminal is folded by it, and nothing is cut off."""


def rendered(*parts: Any) -> str:
    """What rich makes of it, as text: written at once, and with colours for a terminal only."""
    on_terminal = coloured()
    out = io.StringIO()
    console = Console(file=out, width=WIDTH, force_terminal=on_terminal, no_color=not on_terminal, highlight=False)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def table(headings: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> Table:
    """Texts to the left, numbers to the right."""
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for place, heading in enumerate(headings):
        made.add_column(heading, justify="left" if place == 0 else "right", no_wrap=True)
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(one_line(cell)) for cell in row))
    return made


def reported(result: Result) -> str:
    """A result."""
    parts: list[Any] = [Text(one_line(headline(result)), style="bold")]
    parts += [Text(load) for load in dict.fromkeys(load_text(each) for each in result.calls) if load]
    told = [each for each in result.calls if each.latency is not None and each.sustained]
    if told:
        percentiles = [f"p{each:g}" for each in PERCENTILES]
        headings = ["", "calls", "calls/s", *percentiles, "max", "errors"]
        parts += ["", table(headings, [[each.name, *call_cells(each)] for each in told])]
        parts += phase_parts(told)
        parts += ["", *cost_lines(told)] if any(each.cpu_here is not None for each in told) else []
        parts += [Text(note) for note in dict.fromkeys(map(clock_note, told)) if note]
    if result.streams:
        headings = ["", "rate", "bytes", "time", "chunks", "CPU here", "CPU there"]
        parts += ["", table(headings, [[each.name, *stream_cells(each)] for each in result.streams])]
    parts += [
        "",
        *(Text(f"{end + ':':7}{one_line(environment_line(each))}", style="dim") for end, each in ends(result)),
    ]
    return rendered(*parts)


def headline(result: Result) -> str:
    """What was measured, of whom."""
    early = f" (ended early: {result.interrupted})" if result.interrupted else ""
    rounds = result.options.get("rounds", 1)
    times = f", {rounds} rounds" if rounds != 1 else ""
    return f"{result.workload} of {result.target}{times}{early}"


def ends(result: Result) -> list[tuple[str, dict[str, Any]]]:
    """Both environments; the other one if it is known."""
    return [("here", result.here), *([("there", result.there)] if result.there else [])]


def phase_parts(told: Sequence[CallSeries]) -> list[Any]:
    """Where the time goes: of each series, or of the first and the last where there are many."""
    parts: list[Any] = []
    for series in told if len(told) <= 2 else (told[0], told[-1]):
        total = sum(series.phases[name].mean for name in PHASES if name in series.phases)
        rows = [
            [
                text,
                f"{series.phases[name].mean / total * 100:.0f} %" if total else "",
                duration(series.phases[name].mean),
                *(
                    duration(value) if (value := series.phases[name].percentiles.get(key)) is not None else "-"
                    for key in ("50", "99")
                ),
                duration(series.phases[name].max),
            ]
            for name, text in PHASES.items()
            if name in series.phases
        ]
        title = "where the time goes" if len(told) == 1 else f"where the time goes, {series.name}"
        if rows:
            parts += ["", table([title, "share", "mean", "p50", "p99", "max"], rows)]
    return parts


def cost_lines(told: Sequence[CallSeries]) -> list[Text]:
    """CPU and memory of both ends."""
    lines = []
    for each in told:
        costs = [
            f"{duration(cpu * 1e9)} {end}"
            for end, cpu in (("here", each.cpu_here), ("there", each.cpu_there))
            if cpu is not None
        ]
        if costs:
            name = "" if len(told) == 1 else f", {each.name}"
            lines.append(Text(f"CPU per call{name}: {', '.join(costs)}"))
    memory = [
        f"{size(rss)} {end}"
        for end, rss in (("here", told[-1].rss_here), ("there", told[-1].rss_there))
        if rss is not None
    ]
    if memory:
        lines.append(Text(f"memory: {', '.join(memory)}"))
    return lines


STYLES = {"slower": "red", "faster": "green", "no difference": ""}


def compared(comparison: Comparison) -> str:
    """A comparison."""
    rows: list[list[str | Text]] = [
        [*comparison_cells(each), Text(each.verdict + (" (fails)" if each.failed else ""), style=STYLES[each.verdict])]
        for each in comparison.differences
    ]
    headings = ["", comparison.old, comparison.new, "change", "interval", "verdict"]
    parts: list[Any] = [
        "",
        Text(one_line(f"{comparison.new} against {comparison.old}"), style="bold"),
        table([one_line(each) for each in headings], rows),
    ]
    parts += [Text(f"left out: {one_line(text)}") for text in comparison.left_out]
    if comparison.environments:
        fields = one_line(", ".join(comparison.environments))
        parts.append(Text(f"the environments differ in {fields}: a difference may be theirs", style="yellow"))
    return rendered(*parts)
