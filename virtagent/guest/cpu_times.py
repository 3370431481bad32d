"""Processor times of /proc/stat (proc_stat(5))."""

from __future__ import annotations

import os
from typing import NamedTuple

__all__ = ["TICK", "CpuTimes", "parse_cpu_times", "read_cpu_times"]

STAT = "/proc/stat"
MOST = 8192
"""Processors that are told of."""


class CpuTimes(NamedTuple):
    """Clock ticks since boot; ``guest`` and ``guest_nice`` are in ``user`` and ``nice``, too."""

    user: int
    nice: int
    system: int
    idle: int
    iowait: int = 0
    irq: int = 0
    softirq: int = 0
    steal: int = 0
    guest: int = 0
    guest_nice: int = 0

    @property
    def total(self) -> int:
        """All of the time."""
        return sum(self[:8])

    @property
    def resting(self) -> int:
        """The time in which there was nothing to do, or only disks to wait for."""
        return self.idle + self.iowait

    def percent_since(self, before: CpuTimes) -> float | None:
        """How busy it was meanwhile, 0 to 100; None: no tick has passed, or counters went back."""
        total = self.total - before.total
        if total <= 0:
            return None
        # idle and iowait may go back by a tick on a kernel without ticks
        busy = total - min(max(self.resting - before.resting, 0), total)
        return round(100 * busy / total, 1)


def parse_cpu_times(text: str) -> dict[str, CpuTimes]:
    """The times by name: "" is all processors together, "0", "1", ... are those that are online."""
    found = {}
    for line in text.splitlines()[: MOST + 1]:
        name, *words = line.split() or [""]
        if not name.startswith("cpu"):
            break
        if len(words) >= 4 and all(word.isdigit() for word in words):
            found[name[3:]] = CpuTimes(*map(int, words[:10]))
    return found


def read_cpu_times(path: str = STAT) -> dict[str, CpuTimes]:
    """The times of this machine.

    Raises:
        OSError: /proc is not there.
    """
    with open(path, encoding="ascii", errors="replace") as file:
        return parse_cpu_times(file.read())


TICK = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds of a clock tick."""
