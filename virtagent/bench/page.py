"""A page of results that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from virtagent.bench.compare import Comparison
from virtagent.bench.distribution import PERCENTILES
from virtagent.bench.panels import Run
from virtagent.bench.texts import (
    PHASES,
    call_cells,
    clock_note,
    comparison_cells,
    cpu_cells,
    plain_text,
    stream_cells,
)
from virtagent.bench.units import duration

__all__ = ["page"]

CSS = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1200px; padding: 0 1em; color: #1b1b1b; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25em .9em .25em 0; text-align: right; white-space: nowrap; border-bottom: 1px solid #e4e4e4; }
th:nth-child(-n+2), td:nth-child(-n+2), .text th, .text td { text-align: left; }
.phases th:nth-child(3), .phases td:nth-child(3) { text-align: left; }
.text td { white-space: normal; vertical-align: top; min-width: 6em; }
.pictures { margin-top: 2em; display: flex; flex-wrap: wrap; gap: 1em; } .pictures svg { width: 100%; height: auto; }
.pictures figure { flex: 1 1 480px; margin: 0; max-width: 592px; }
.slower { color: #b03a00; font-weight: 600; } .faster { color: #00664b; font-weight: 600; }
.note { background: #fff6e0; padding: .5em .8em; } .quiet { color: #666; }
"""


def page(runs: Sequence[Run], pictures: Sequence[str], missing: Sequence[str], comparison: Comparison | None) -> str:
    """The HTML.

    Args:
        pictures: SVG elements.
        missing: what could not be drawn.
    """
    titles = ", ".join(dict.fromkeys(f"{run.result.workload} of {run.result.target}" for run in runs))
    parts = [f"<h1>virtagent bench: {escape(titles)}</h1>"]
    parts += [quiet(f"{run.label}: {run.result.date:%Y-%m-%d %H:%M:%S} UTC, {run.result.url}") for run in runs]
    parts += [note(f"Not drawn: {text}.") for text in missing]
    parts += [note(f"{run.label} ended early: {run.result.interrupted}.") for run in runs if run.result.interrupted]
    parts += [] if comparison is None else comparison_section(comparison)
    parts.append('<div class="pictures">' + "".join(f"<figure>{each}</figure>" for each in pictures) + "</div>")
    parts += [*calls_section(runs), *phases_section(runs), *streams_section(runs), *environment_section(runs)]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>virtagent bench: {escape(titles)}</title><style>{CSS}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def heading(text: str) -> str:
    """A section's heading."""
    return f"<h2>{escape(text)}</h2>"


def quiet(text: str) -> str:
    """What few need to read."""
    return f'<p class="quiet">{escape(text)}</p>'


def note(text: str) -> str:
    """What everybody should read."""
    return f'<p class="note">{escape(text)}</p>'


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], css: str = "") -> str:
    """A table of texts; a cell that is a word with a class of its own is shown in it."""
    head = "".join(f"<th>{escape(each)}</th>" for each in headings)
    body = "".join(
        "<tr>" + "".join(f'<td class="{css_of(cell)}">{escape(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="table"><table class="{css}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def css_of(cell: str) -> str:
    """The class of a verdict."""
    return cell if cell in ("slower", "faster") else ""


def calls_section(runs: Sequence[Run]) -> list[str]:
    """Latency, rate and cost of each series of calls."""
    rows = [
        [run.label, each.name, *call_cells(each), *cpu_cells(each)]
        for run in runs
        for each in run.result.calls
        if each.latency is not None and each.sustained
    ]
    percentiles = [f"p{each:g}" for each in PERCENTILES]
    headings = ["run", "load", "calls", "calls/s", *percentiles, "max", "errors", "CPU here", "CPU there"]
    return [heading("Calls"), table(headings, rows)] if rows else []


def phases_section(runs: Sequence[Run]) -> list[str]:
    """Where the time goes."""
    rows = []
    told = [(run.label, series) for run in runs for series in run.result.calls if series.sustained]
    for label, series in told:
        for name, text in {**PHASES, "wire": "both ways together"}.items():
            if name in series.phases:
                each = series.phases[name]
                cells = [duration(each.percentiles[key]) if key in each.percentiles else "-" for key in ("50", "99")]
                rows.append([label, series.name, text, duration(each.mean), *cells, duration(each.max)])
    if not rows:
        return []
    notes = dict.fromkeys(clock_note(series) for _, series in told)
    columns = ["run", "load", "phase", "mean", "p50", "p99", "max"]
    return [heading("Where the time goes"), table(columns, rows, "phases"), *(quiet(each) for each in notes if each)]


def streams_section(runs: Sequence[Run]) -> list[str]:
    """Rates of the streams."""
    rows = [[run.label, each.name, *stream_cells(each)] for run in runs for each in run.result.streams]
    columns = ["run", "stream", "rate", "bytes", "time", "chunks", "CPU here", "CPU there"]
    return [heading("Streams"), table(columns, rows)] if rows else []


def comparison_section(comparison: Comparison) -> list[str]:
    """Which differences are real."""
    rows = [[*comparison_cells(each), each.verdict] for each in comparison.differences]
    parts = [heading(f"{comparison.new} against {comparison.old}")]
    if comparison.environments:
        fields = ", ".join(comparison.environments)
        parts.append(note(f"The environments differ in {fields}: a difference may be theirs."))
    parts.append(table(["", comparison.old, comparison.new, "change", "interval", "verdict"], rows))
    return parts + [quiet(f"left out: {text}") for text in comparison.left_out]


def environment_section(runs: Sequence[Run]) -> list[str]:
    """Both ends of each run, and what was asked for."""
    columns: list[tuple[str, dict[str, Any]]] = []
    for run in runs:
        columns += [(f"{run.label}: here", run.result.here), (f"{run.label}: there", run.result.there)]
    fields = list(dict.fromkeys(field for _, environment in columns for field in environment))
    rows = [[field, *(plain_text(environment.get(field)) for _, environment in columns)] for field in fields]
    options = [
        [
            run.label,
            "; ".join(f"{key} {plain_text(value)}" for key, value in run.result.options.items() if value is not None),
        ]
        for run in runs
    ]
    return [
        heading("Environments"),
        table(["", *(name for name, _ in columns)], rows, "text"),
        heading("Options"),
        table(["run", "options"], options, "text"),
    ]
