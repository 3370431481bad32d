"""Memory and swap space (proc_meminfo(5), proc_vmstat(5))."""

from __future__ import annotations

import os

from virtagent.api.stats import MemoryUse, SwapUse

__all__ = ["memory_use", "parse_meminfo", "parse_vmstat", "read_meminfo", "read_vmstat", "swap_use"]

MEMINFO = "/proc/meminfo"
VMSTAT = "/proc/vmstat"
PAGE = os.sysconf("SC_PAGE_SIZE")


def parse_meminfo(text: str) -> dict[str, int]:
    """The fields that have a size, in bytes."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return found


def parse_vmstat(text: str) -> dict[str, int]:
    """The counters by name."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _read(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()


def read_meminfo(path: str = MEMINFO) -> dict[str, int]:
    """The fields of this machine. Raises OSError."""
    return parse_meminfo(_read(path))


def read_vmstat(path: str = VMSTAT) -> dict[str, int]:
    """The counters of this machine; none where the kernel does not tell."""
    try:
        return parse_vmstat(_read(path))
    except OSError:
        return {}


def memory_use(fields: dict[str, int]) -> MemoryUse:
    """Memory; kernels before 3.14 do not say what is available, so that it is what is free or only cached."""
    total, free = fields.get("MemTotal", 0), fields.get("MemFree", 0)
    buffers, cached = fields.get("Buffers", 0), fields.get("Cached", 0)
    available = min(fields.get("MemAvailable", free + buffers + cached), total)
    return MemoryUse(
        total=total,
        available=available,
        used=total - available,
        free=free,
        buffers=buffers,
        cached=cached,
        shared=fields.get("Shmem", 0),
        reclaimable=fields.get("SReclaimable", 0),
        dirty=fields.get("Dirty", 0),
    )


def swap_use(fields: dict[str, int], counters: dict[str, int]) -> SwapUse:
    """Swap space, without rates."""
    total, free = fields.get("SwapTotal", 0), fields.get("SwapFree", 0)
    taken_in, put_out = counters.get("pswpin"), counters.get("pswpout")
    return SwapUse(
        total=total,
        used=total - free,
        free=free,
        swapped_in=None if taken_in is None else taken_in * PAGE,
        swapped_out=None if put_out is None else put_out * PAGE,
    )
