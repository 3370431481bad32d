"""What this process costs its machine."""

from __future__ import annotations

import os

__all__ = ["resident_memory"]

STATM = "/proc/self/statm"


def resident_memory() -> int | None:
    """Bytes of this process that are in memory; None where the kernel does not tell."""
    try:
        with open(STATM, encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
