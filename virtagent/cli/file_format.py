"""Files as people know them from ls(1)."""

from __future__ import annotations

import shutil
import stat
import time
from collections.abc import Sequence

from virtagent.api.file_types import Entry
from virtagent.cli.text import one_line

__all__ = ["columns", "human", "long_lines", "moment", "permissions", "shown_name"]

_TYPES = {
    "file": stat.S_IFREG,
    "directory": stat.S_IFDIR,
    "link": stat.S_IFLNK,
    "block": stat.S_IFBLK,
    "character": stat.S_IFCHR,
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
}

_COLOURS = {
    "directory": "\033[1;34m",
    "link": "\033[1;36m",
    "fifo": "\033[33m",
    "socket": "\033[1;35m",
    "block": "\033[1;33m",
    "character": "\033[1;33m",
}
_EXECUTABLE, _PLAIN = "\033[1;32m", "\033[0m"

HALF_A_YEAR = 182 * 86400
"""Seconds: what is older is shown with its year, as ls does."""


def permissions(kind: str, mode: int) -> str:
    """``-rw-r--r--``."""
    text = stat.filemode(_TYPES.get(kind, 0) | mode)
    return text if kind in _TYPES else "?" + text[1:]


def human(count: int) -> str:
    """``512``, ``4.0K``, ``12M``."""
    value = float(count)
    for unit in ("", "K", "M", "G", "T", "P"):
        if value < 1024 or unit == "P":
            return f"{value:.1f}{unit}" if unit and value < 10 else f"{value:.0f}{unit}"
        value /= 1024
    raise AssertionError("unreachable")


def moment(nanoseconds: int) -> str:
    """A time in this machine's zone: with its clock if it is recent, else with its year."""
    seconds = nanoseconds / 1e9
    try:
        local = time.localtime(seconds)
    except (ValueError, OverflowError, OSError):
        return "?"
    recent = -3600 < time.time() - seconds < HALF_A_YEAR
    return time.strftime("%b %e %H:%M" if recent else "%b %e  %Y", local)


def shown_name(entry: Entry, *, colours: bool, target: bool = False) -> str:
    """A file's name made harmless, coloured by its kind; with where a link leads, if wanted."""
    name = one_line(entry.path) if entry.path.strip() == entry.path else repr(entry.path)
    if colours:
        tone = _COLOURS.get(entry.kind, _EXECUTABLE if entry.mode & 0o111 else "")
        name = f"{tone}{name}{_PLAIN}" if tone else name
    if target and entry.target is not None:
        name += f" -> {one_line(entry.target)}"
    return f"{name}  ({one_line(entry.error)})" if entry.error else name


def long_lines(entries: Sequence[Entry], *, exact: bool, colours: bool) -> list[str]:
    """Entries as ``ls -l`` shows them."""
    rows = [
        (
            permissions(each.kind, each.mode),
            str(each.links),
            one_line(each.user) or str(each.uid),
            one_line(each.group) or str(each.gid),
            str(each.size) if exact else human(each.size),
            moment(each.mtime),
        )
        for each in entries
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    return [
        f"{row[0]} {row[1]:>{widths[1]}} {row[2]:{widths[2]}} {row[3]:{widths[3]}} {row[4]:>{widths[4]}}"
        f" {row[5]:>{widths[5]}} {shown_name(entry, colours=colours, target=True)}"
        for row, entry in zip(rows, entries, strict=True)
    ]


def columns(entries: Sequence[Entry], *, colours: bool) -> list[str]:
    """Names side by side, as many as the terminal is wide."""
    plain = [shown_name(each, colours=False) for each in entries]
    if not plain:
        return []
    width = shutil.get_terminal_size().columns
    cell = max(map(len, plain)) + 2
    count = max(1, width // cell)
    height = -(-len(plain) // count)
    lines = []
    for row in range(height):
        places = range(row, len(plain), height)
        lines.append(
            "".join(shown_name(entries[at], colours=colours) + " " * (cell - len(plain[at])) for at in places).rstrip()
        )
    return lines
