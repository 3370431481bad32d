"""The generated parts of docs/counted.md, between markers: one for interpreted code, one for compiled code."""

from __future__ import annotations

from pathlib import Path

from benchmarks.counted.baseline import Run
from benchmarks.counted.table import Names, markdown_tables
from benchmarks.counted.tree import ROOT

__all__ = ["PAGE", "markers", "write_page"]

PAGE = ROOT / "docs" / "counted.md"


def markers(code: str) -> tuple[str, str]:
    """What the part for "interpreted" or "compiled" code begins and ends with."""
    return f"<!-- {code}: made by make counted-accept; changes are lost -->", f"<!-- end of {code} -->"


def write_page(run: Run, names: Names, page: Path = PAGE) -> None:
    """Put a run's tables between the page's markers.

    Raises:
        ValueError: the page has no markers.
    """
    text = page.read_text()
    first, last = markers(run.environment["code"])
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"{page} lacks the markers {first!r} and {last!r}: restore it with git checkout")
    tables = markdown_tables(run.metrics, names)
    page.write_text(f"{before}{first}\n{counted_with(run)}\n\n{tables}\n\n{last}{after}")


def counted_with(run: Run) -> str:
    """What a run was counted with, in one line."""
    versions = run.environment["versions"]
    packages = [f"{name} {versions[name]}" for name in ("msgpack", "msgspec", "uvloop") if name in versions]
    place = f"{run.environment['python']} on {run.environment['machine']}"
    return (
        ", ".join([place, run.environment["libc"], *packages]) + f"; by {', '.join(run.environment['tools'].values())}."
    )
