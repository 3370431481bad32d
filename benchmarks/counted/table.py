"""The tables of counted costs: as text with the change against the baseline, as Markdown for docs/counted.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.counted.gate import Change
from benchmarks.counted.measure import Job
from benchmarks.counted.metric import ENDS, LOOPS, Metric
from benchmarks.counted.pair import Cost
from benchmarks.counted.workloads import QUANTITIES, WORKLOADS

__all__ = ["Row", "by_name", "markdown_tables", "rows_of", "text_tables"]

DIGITS = {"instructions": 0, "allocations": 1, "system calls": 2}

Names = dict[str, dict[str, float]]
"""By row: how often each system call is made, by both ends together."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a quantity's table.

    Attributes:
        name: the row's.
        metric: its sum.
        client, server: each end's cost, None where both were one process.
        total: the cost of both.
        ratio: how many times the limit's that is; None for a limit.
    """

    name: str
    metric: Metric
    client: float | None
    server: float | None
    total: float
    ratio: float | None


def rows_of(metrics: dict[str, float], quantity: str) -> list[Row]:
    """The rows that have a quantity, in the order of the workloads."""
    found = []
    for loop in LOOPS:
        for workload in WORKLOADS:
            client, server, both = (Metric(workload.key, loop, end, quantity) for end in ENDS)
            total = metrics.get(both.name)
            if total is None:
                continue
            limit = metrics.get(both.limit.name) if both.limit else None
            ratio = total / limit if limit else None
            found.append(Row(both.row, both, metrics.get(client.name), metrics.get(server.name), total, ratio))
    return found


def by_name(costs: dict[Job, Cost]) -> Names:
    """System calls by name, most first."""
    found: Names = {}
    for job, cost in costs.items():
        if job.counter.quantity != "system calls":
            continue
        row = Metric(job.workload.key, job.loop, "sum", "system calls").row
        names: dict[str, float] = {}
        for counts in cost.ends.values():
            for name, count in counts.items():
                names[name] = names.get(name, 0.0) + count
        found[row] = dict(sorted(names.items(), key=lambda item: -item[1]))
    return found


def text_tables(metrics: dict[str, float], found: Iterable[Change] = (), names: Names | None = None) -> str:
    """One table for each quantity; the change is that of the end that grew most."""
    growths: dict[tuple[str, str], float] = {}
    for change in found:
        metric = Metric.parse(change.metric)
        if change.growth is not None:
            place = (metric.row, metric.quantity)
            growths[place] = max(change.growth, growths.get(place, change.growth))
    lines = []
    for quantity in QUANTITIES:
        rows = rows_of(metrics, quantity)
        if not rows:
            continue
        lines += ["", f"{quantity + ' per call':48}{'client':>12}{'server':>12}{'sum':>12}{'x limit':>9}{'change':>9}"]
        for row in rows:
            figures = "".join(f"{figure(cost, quantity):>12}" for cost in (row.client, row.server, row.total))
            growth = growths.get((row.name, quantity))
            ratio = f"{row.ratio:9.2f}" if row.ratio else " " * 9
            change_text = f"{growth:+9.1%}" if growth is not None else " " * 9
            calls = f"  {listed(names[row.name])}" if names and quantity == "system calls" else ""
            lines.append(f"{row.name:48}{figures}{ratio}{change_text}{calls}".rstrip())
    return "\n".join(lines[1:])


def markdown_tables(metrics: dict[str, float], names: Names) -> str:
    """One table for each quantity, under a heading."""
    lines = []
    for quantity in QUANTITIES:
        last = " by name, both ends |" if quantity == "system calls" else ""
        lines += [f"### {quantity.capitalize()}", "", f"| one call | client | server | sum | x limit |{last}"]
        lines.append("|---|---:|---:|---:|---:|" + ("---|" if last else ""))
        for row in rows_of(metrics, quantity):
            figures = " | ".join(figure(cost, quantity) for cost in (row.client, row.server, row.total))
            calls = f" {listed(names.get(row.name, {}))} |" if last else ""
            lines.append(f"| {row.name} | {figures} | {f'{row.ratio:.2f}' if row.ratio else ''} |{calls}")
        lines.append("")
    return "\n".join(lines).rstrip()


def figure(cost: float | None, quantity: str) -> str:
    """A cost as people read it; nothing where it is not known."""
    return "" if cost is None else f"{cost:,.{DIGITS[quantity]}f}"


def listed(names: dict[str, float]) -> str:
    """What is made at least once in a hundred calls."""
    return ", ".join(f"{name} {count:.2f}".removesuffix(".00") for name, count in names.items() if count >= 0.005)
