"""The tables of all that was measured side by side, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.side_by_side.result import Figure, Result, SubjectRecord

__all__ = ["CALLS", "COLUMNS", "PAYLOADS", "Column", "ahead_lines", "failure_lines", "subject_table", "usage_lines"]

SLOWEST = float("inf")


@dataclass(frozen=True, slots=True)
class Column:
    """One statistic.

    Attributes:
        title: for people, with the unit.
        metric: ``workload/statistic``.
        show: a value as text.
        better: which values are better.
    """

    title: str
    metric: str
    show: Callable[[float], str]
    better: str = "lower"


def micros(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def whole(value: float) -> str:
    return f"{value:,.0f}"


def rate(value: float) -> str:
    return f"{value / 1000:,.0f} k" if value >= 10_000 else f"{value / 1000:.1f} k"


CALLS = (
    Column("p50, one CPU, us", "sequential 64 B/p50_us", micros),
    Column("p99, one CPU, us", "sequential 64 B/p99_us", micros),
    Column("p50, free, us", "sequential 64 B free/p50_us", micros),
    Column("64 in flight, calls/s", "pipelined 64/calls_per_s", rate, "higher"),
    Column("server CPU, us/call", "pipelined 64/server_cpu_us", micros),
)

PAYLOADS = (
    Column("64 KiB echo, MB/s", "echo 64 KiB/MB_per_s", whole, "higher"),
    Column("1 MiB echo, MB/s", "echo 1 MiB/MB_per_s", whole, "higher"),
    Column("stream, MB/s", "stream/MB_per_s", whole, "higher"),
    Column("server RSS, MiB", "server/rss_mib", whole),
    Column("server ready, ms", "server/ready_ms", whole),
)

COLUMNS = (*CALLS, *PAYLOADS)

SORTED_BY = CALLS[0].metric


def subject_table(result: Result, columns: Sequence[Column]) -> list[str]:
    """A row for each subject, the quickest sequential call first, and what failed last."""
    lines = [
        "| | loop | channel | " + " | ".join(column.title for column in columns) + " |",
        "|---|---|---|" + "---:|" * len(columns),
    ]
    return lines + [row(result, subject, columns) for subject in in_order(result)]


def in_order(result: Result) -> list[SubjectRecord]:
    def key(subject: SubjectRecord) -> tuple[float, str]:
        found = result.figure(f"{subject.name}/{SORTED_BY}")
        return (found.value if found else SLOWEST, subject.name)

    return sorted(result.subjects, key=key)


def row(result: Result, subject: SubjectRecord, columns: Sequence[Column]) -> str:
    failed = result.failed()
    figures = [result.figure(f"{subject.name}/{column.metric}") for column in columns]
    head = f"| {marked(subject)} | {subject.loop} | {subject.channel} | "
    reasons = [why for name, (_, why) in failed.items() if name == subject.name or name.startswith(f"{subject.name}/")]
    if reasons and not any(figures):
        return head + f"**failed: {reasons[0]}** |" + " |" * (len(columns) - 1)
    cells = []
    for column, figure in zip(columns, figures, strict=True):
        workload = column.metric.split("/")[0]
        missing = "**failed**" if f"{subject.name}/{workload}" in failed else ""
        cells.append(cell(column, figure, len(result.rounds)) if figure else missing)
    return head + " | ".join(cells) + " |"


def marked(subject: SubjectRecord) -> str:
    """Ours in bold, limits in italics."""
    mark = {"ours": "**", "limit": "*"}.get(subject.role, "")
    return f"{mark}{subject.peer}{mark}"


def cell(column: Column, figure: Figure, rounds: int) -> str:
    spread = f" ±{figure.spread * 100:.0f} %" if rounds > 1 else ""
    return f"{column.show(figure.value)}{spread}"


def ahead_lines(result: Result) -> list[str]:
    """For each statistic, which other libraries are ahead of ours on the same kind of loop, and by how much."""
    lines = []
    for column in COLUMNS:
        for ours in (subject for subject in result.subjects if subject.role == "ours"):
            own = result.figure(f"{ours.name}/{column.metric}")
            if own is None:
                continue
            found = sorted(ahead(result, column, ours, own.value), reverse=True)
            said = ", ".join(f"{name} ({factor:.2f}x)" for factor, name in found) or "nobody"
            lines.append(f"| {column.title} | {ours.name} | {said} |")
    return ["| | | ahead of it |", "|---|---|---|", *lines]


def ahead(result: Result, column: Column, ours: SubjectRecord, own: float) -> Iterable[tuple[float, str]]:
    """Who is ahead of one of our figures, by which factor: libraries that block, and those on the same loop."""
    for subject in result.subjects:
        if subject.role != "peer" or subject.loop in {"asyncio", "uvloop"} - {ours.loop}:
            continue
        figure = result.figure(f"{subject.name}/{column.metric}")
        if figure is None or not figure.value:
            continue
        factor = own / figure.value if column.better == "lower" else figure.value / own
        if factor > 1:
            yield factor, subject.name


def usage_lines(result: Result) -> list[str]:
    """How each was used."""
    lines, told = [], set()
    for subject in result.subjects:
        if subject.peer not in told:
            told.add(subject.peer)
            versions = ", ".join(f"{name} {version}" for name, version in subject.versions.items())
            lines.append(f"- {marked(subject)}{f' ({versions})' if versions else ''}: {subject.usage}.")
    return lines


def failure_lines(result: Result) -> list[str]:
    """What failed, in how many of the rounds, and why."""
    rounds = len(result.rounds)
    failed = result.failed()
    return [f"- {name}: failed in {count} of {rounds} rounds: {why}" for name, (count, why) in sorted(failed.items())]
