"""What the kernel tells of a process in /proc/PID/stat (proc_pid_stat(5))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["ProcStat", "parse_stat", "pids", "read_stat"]


class ProcStat(NamedTuple):
    """The fields that the agent uses.

    Attributes:
        ticks: user and system time, in clock ticks.
        start_ticks: when it began, in clock ticks since boot.
        rss: pages.
        terminal: the device number of its controlling terminal; 0: none.
    """

    pid: int
    name: str
    state: str
    ppid: int
    group: int
    session: int
    terminal: int
    ticks: int
    nice: int
    threads: int
    start_ticks: int
    rss: int


def parse_stat(text: bytes) -> ProcStat:
    """Read one such line. The name may hold anything, parentheses and spaces too.

    Raises:
        ValueError: it is none.
    """
    head, opened, rest = text.partition(b" (")
    name, closed, tail = rest.rpartition(b") ")
    fields = tail.split()
    if not opened or not closed or len(fields) < 22:
        raise ValueError(f"this is no line of /proc/PID/stat: {text!r:.80}")
    number = [int(each) for each in fields[1:22]]
    return ProcStat(
        pid=int(head),
        name=os.fsdecode(name),
        state=fields[0].decode("ascii", "replace"),
        ppid=number[0],
        group=number[1],
        session=number[2],
        terminal=number[3],
        ticks=number[10] + number[11],
        nice=number[15],
        threads=number[16],
        start_ticks=number[18],
        rss=number[20],
    )


def read_stat(pid: int) -> ProcStat | None:
    """That of one process, or None where there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return parse_stat(file.read())
    except (FileNotFoundError, ProcessLookupError):
        return None


def pids() -> Iterator[int]:
    """The ids of all processes, in order."""
    return iter(sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()))
