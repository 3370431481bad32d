"""Numbers as people read them: three digits and a unit."""

from __future__ import annotations

__all__ = ["bytes_per_second", "duration", "number", "size"]

_TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"))


def number(value: float) -> str:
    """Three digits that count, thousands set apart: "12,300", "123", "1.23"."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def duration(nanoseconds: float) -> str:
    """ "12.3 µs"."""
    for unit, name in _TIMES:
        if abs(nanoseconds) >= unit:
            return f"{number(nanoseconds / unit)} {name}"
    return f"{nanoseconds:.0f} ns"


def size(count: float) -> str:
    """ "64 B", "64 KiB", "24.1 MiB"."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            whole = count / unit
            return f"{whole:.0f} {name}" if whole == int(whole) else f"{number(whole)} {name}"
    return f"{count:.0f} B"


def bytes_per_second(rate: float) -> str:
    """ "1,440 MB/s"; decimal, as links are."""
    for unit, name in ((1e6, "MB/s"), (1e3, "kB/s")):
        if rate >= unit:
            return f"{number(rate / unit)} {name}"
    return f"{rate:.0f} B/s"
