"""What this process costs its machine."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["resident_memory"]

STATM = Path("/proc/self/statm")


def resident_memory() -> int | None:
    """Bytes of this process that are in memory; None where the kernel does not tell."""
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
