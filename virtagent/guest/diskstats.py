"""/proc/diskstats (Documentation/admin-guide/iostats.rst)."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DISKSTATS", "SECTOR", "DiskCounters", "parse_diskstats", "read_diskstats"]

DISKSTATS = "/proc/diskstats"

SECTOR = 512
"""Bytes of a sector here, whatever the device's own are."""

MOST = 4096
"""Devices that are told of."""


class DiskCounters(NamedTuple):
    """One device's counters since boot; each may wrap. Times are milliseconds.

    Attributes:
        major, minor: the device's number.
        name: such as "vda" or "vda1".
        reads, writes, discards, flushes: requests that completed.
        reads_merged, writes_merged, discards_merged: requests that were joined with a neighbour before.
        read_sectors, written_sectors, discarded_sectors: see :data:`SECTOR`.
        read_ms, write_ms, discard_ms, flush_ms: how long the requests took, all together.
        in_flight: requests that have not completed.
        busy_ms: how long there was any.
        weighted_ms: how long, times how many.

    Kernels before 4.18 have no discards, those before 5.5 no flushes: None.
    """

    major: int
    minor: int
    name: str
    reads: int
    reads_merged: int
    read_sectors: int
    read_ms: int
    writes: int
    writes_merged: int
    written_sectors: int
    write_ms: int
    in_flight: int
    busy_ms: int
    weighted_ms: int
    discards: int | None = None
    discards_merged: int | None = None
    discarded_sectors: int | None = None
    discard_ms: int | None = None
    flushes: int | None = None
    flush_ms: int | None = None


FIELDS = len(DiskCounters._fields)
FEWEST = 14


def parse_diskstats(text: str) -> list[DiskCounters]:
    """All devices, partitions included; lines of another form (partitions before Linux 2.6.25) are left out."""
    found = []
    for line in text.splitlines()[:MOST]:
        words = line.split()
        if len(words) >= FEWEST:
            try:
                numbers = list(map(int, (*words[:2], *words[3:FIELDS])))
            except ValueError:
                continue
            found.append(DiskCounters(numbers[0], numbers[1], words[2], *numbers[2:]))
    return found


def read_diskstats(path: str = DISKSTATS) -> list[DiskCounters]:
    """The devices of this machine.

    Raises:
        OSError: the kernel does not tell.
    """
    with open(path, encoding="ascii", errors="replace") as file:
        return parse_diskstats(file.read())
