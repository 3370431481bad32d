"""What processes used: CPU time, memory; and where they may run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["cpu_seconds", "move", "rss_mib"]

NANOSECONDS = 1e9


def tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of all threads of some processes (proc(5), schedstat: nanoseconds where stat has hundredths)."""
    total = 0.0
    for pid in pids:
        for task in tasks(pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                total += int((task / "schedstat").read_text().split()[0]) / NANOSECONDS
    return total


def rss_mib(pid: int) -> float:
    """Resident memory of a process (proc(5), VmRSS)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def move(pids: Iterable[int], cpus: Iterable[int]) -> None:
    """Let all threads of some processes run on these CPUs only."""
    wanted = set(cpus)
    for pid in pids:
        for task in tasks(pid):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(task.name), wanted)
