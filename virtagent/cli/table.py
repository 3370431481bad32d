"""Rows under headings: plain columns for programs and files, bold headings for people."""

from __future__ import annotations

from collections.abc import Sequence

from virtagent.cli.output import coloured, say
from virtagent.cli.text import one_line

__all__ = ["show_table"]


def show_table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print a table; what a guest said in it is made harmless.

    Args:
        headings: one for each column.
        rows: their cells; None is shown as nothing.
        right: the headings of columns that are aligned to the right.
    """
    cells = [["" if cell is None else one_line(str(cell)) for cell in row] for row in rows]
    if coloured():
        _show_to_people(headings, cells, right)
        return
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    for row in (headings, *cells):
        aligned = (
            f"{cell:>{width}}" if heading in right else f"{cell:{width}}"
            for cell, width, heading in zip(row, widths, headings, strict=True)
        )
        say("  ".join(aligned).rstrip())


def _show_to_people(headings: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow to load
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left")
    for row in cells:
        table.add_row(*map(Text, row))
    Console().print(table)
