"""The table of counted costs, as text and as Markdown."""

from __future__ import annotations

from benchmarks.counted.measure import row_name
from benchmarks.counted.workloads import WORKLOADS

QUANTITIES = ("instructions", "allocations", "system calls")
HEADINGS = ("client", "server", "sum")
DIGITS = {"instructions": 0, "allocations": 1, "system calls": 2}


def rows_of(metrics: dict[str, float], quantity: str) -> list[tuple[str, tuple[float, float, float], float | None]]:
    """The rows that have a quantity: name, costs of both ends and their sum, and how many times the limit that is."""
    found = []
    for loop in ("asyncio", "uvloop"):
        for workload in WORKLOADS:
            row = row_name(workload.key, loop)
            names = [f"{row}/{end} {quantity}" for end in HEADINGS]
            if not all(name in metrics for name in names):
                continue
            client, server, total = (metrics[name] for name in names)
            limit = metrics.get(f"{row_name(workload.limit, loop)}/sum {quantity}") if workload.limit else None
            found.append((row, (client, server, total), total / limit if limit else None))
    return found


def text_tables(metrics: dict[str, float]) -> str:
    """One table for each quantity."""
    lines = []
    for quantity in QUANTITIES:
        rows = rows_of(metrics, quantity)
        if not rows:
            continue
        lines += ["", f"{quantity + ' per call':44}{'client':>12}{'server':>12}{'sum':>12}{'x limit':>9}"]
        for row, costs, ratio in rows:
            figures = "".join(f"{cost:12,.{DIGITS[quantity]}f}" for cost in costs)
            lines.append(f"{row:44}{figures}{f'{ratio:9.2f}' if ratio else ''}")
    return "\n".join(lines[1:])
