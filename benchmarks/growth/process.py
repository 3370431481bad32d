"""The other process of a point, and what a process weighs."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["ROOT", "Usage", "cpu_seconds", "environment", "reset_peak", "resident", "running", "usage"]

ROOT = Path(__file__).parents[2]
KIB = 1024

START_TIMEOUT = 30.0
"""Seconds in which a process must say that it is ready."""

Usage = dict[str, float]
"""What a process weighs at the moment; see :func:`usage`."""


def environment() -> dict[str, str]:
    """As installed: pip compiles what it installs, and an editable tree must be allowed to keep what it compiles."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


@contextlib.contextmanager
def running(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process ``python -m module`` that has said that it is ready; it is ended afterwards.

    Raises:
        RuntimeError: it ended before it was ready.
    """
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment())
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{module} {' '.join(arguments)} did not start; its error is above")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(START_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def status_field(name: str, pid: int | str = "self") -> int:
    """A field of /proc/PID/status in bytes (proc(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * KIB
    return 0


def resident(pid: int | str = "self") -> int:
    """The resident set, bytes."""
    return status_field("VmRSS", pid)


def reset_peak() -> None:
    """Let the peak of the resident set begin anew from here (proc(5), clear_refs); where it may not, it goes on."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def trim() -> None:
    """Have malloc give its free pages back to the kernel (malloc_trim(3)); a libc that has no such call keeps them."""
    call = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if call is not None:
        call(0)


def cpu_seconds() -> float:
    """User and system time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def usage(*, collect: bool = False) -> Usage:
    """What this process weighs: resident set and its peak (bytes), allocated blocks, tasks, descriptors, CPU seconds.

    Args:
        collect: collect garbage first, and have malloc give back what is free, so that only what is held counts.
    """
    if collect:
        gc.collect()
        gc.collect()  # what finalizers and callbacks of weak references have left
        trim()
    return {
        "rss": resident(),
        "peak": status_field("VmHWM"),
        "blocks": sys.getallocatedblocks(),
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "cpu": cpu_seconds(),
    }
