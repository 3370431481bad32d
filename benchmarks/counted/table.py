"""The table of counted costs, as text and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.counted.measure import metric_name, row_name
from benchmarks.counted.workloads import WORKLOADS

QUANTITIES = ("instructions", "allocations", "system calls")
LOOPS = ("asyncio", "uvloop")
HEADINGS = ("client", "server", "sum")
DIGITS = {"instructions": 0, "allocations": 1, "system calls": 2}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a quantity's table: costs by end where they are known, and how many times the limit their sum is."""

    name: str
    client: float | None
    server: float | None
    total: float
    ratio: float | None


def rows_of(metrics: dict[str, float], quantity: str) -> list[Row]:
    """The rows that have a quantity, in the order of the workloads."""
    found = []
    for loop in LOOPS:
        for workload in WORKLOADS:
            name = row_name(workload.key, loop)
            client, server, total = (metrics.get(metric_name(name, end, quantity)) for end in HEADINGS)
            if total is None:
                continue
            limit = (
                metrics.get(metric_name(row_name(workload.limit, loop), "sum", quantity)) if workload.limit else None
            )
            found.append(Row(name, client, server, total, total / limit if limit else None))
    return found


def text_tables(metrics: dict[str, float]) -> str:
    """One table for each quantity."""
    lines = []
    for quantity in QUANTITIES:
        rows = rows_of(metrics, quantity)
        if not rows:
            continue
        lines += ["", f"{quantity + ' per call':48}{'client':>12}{'server':>12}{'sum':>12}{'x limit':>9}"]
        for row in rows:
            figures = "".join(f"{figure(cost, quantity):>12}" for cost in (row.client, row.server, row.total))
            lines.append(f"{row.name:48}{figures}{f'{row.ratio:9.2f}' if row.ratio else ''}".rstrip())
    return "\n".join(lines[1:])


def figure(cost: float | None, quantity: str) -> str:
    """A cost as people read it; nothing where it is not known."""
    return "" if cost is None else f"{cost:,.{DIGITS[quantity]}f}"
