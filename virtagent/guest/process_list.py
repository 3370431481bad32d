"""What runs in the guest, from /proc."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache

from virtagent.api.processes import ProcessInfo
from virtagent.guest.proc_stat import ProcStat, pids, read_stat

__all__ = ["MOST_OF_ARGUMENTS", "list_processes", "split_arguments"]

MOST_OF_ARGUMENTS = 4096
"""Bytes of a command line that are told."""

_STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "disk-sleep",
    "T": "stopped",
    "t": "traced",
    "Z": "zombie",
    "X": "dead",
    "I": "idle",
}

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def list_processes(*, arguments: bool) -> Iterator[ProcessInfo]:
    """All processes, by pid. One that ends meanwhile is left out.

    Args:
        arguments: tell their command lines.
    """
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    user_name = cache(_user_name)
    for pid in pids():
        stat = read_stat(pid)
        try:
            uid = os.stat(f"/proc/{pid}").st_uid
            line = _command_line(pid) if arguments else None
        except OSError:
            continue
        if stat is not None:
            yield _info(stat, uid, user_name(uid), line, booted)


def _info(stat: ProcStat, uid: int, user: str, line: list[str] | None, booted: float) -> ProcessInfo:
    return ProcessInfo(
        pid=stat.pid,
        ppid=stat.ppid,
        user=user,
        uid=uid,
        state=_STATES.get(stat.state, stat.state),
        name=stat.name,
        arguments=line,
        cpu_time=stat.ticks * _TICK,
        rss=stat.rss * _PAGE,
        started=datetime.fromtimestamp(booted + stat.start_ticks * _TICK, UTC),
        start_ticks=stat.start_ticks,
        threads=stat.threads,
        nice=stat.nice,
        terminal=terminal_name(stat.terminal),
    )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _command_line(pid: int) -> list[str] | None:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return split_arguments(file.read(MOST_OF_ARGUMENTS + 1))


def split_arguments(line: bytes) -> list[str] | None:
    """The arguments in /proc/PID/cmdline; None where there are none (a thread of the kernel, a zombie)."""
    if not line:
        return None
    if len(line) > MOST_OF_ARGUMENTS:
        line = line[:MOST_OF_ARGUMENTS] + b"...\0"
    return [os.fsdecode(each) for each in line.removesuffix(b"\0").split(b"\0")]


def terminal_name(device: int) -> str:
    """A terminal's name by its device number as the kernel tells it; "" for 0."""
    major, minor = os.major(device), os.minor(device)
    if device == 0:
        return ""
    if 136 <= major <= 143:  # Documentation/admin-guide/devices.txt: Unix98 pseudo-terminals
        return f"pts/{(major - 136) * 256 + minor}"
    if major == 4:
        return f"tty{minor}" if minor < 64 else f"ttyS{minor - 64}"
    return f"{major}:{minor}"
