"""An agent as a process: started on a unix socket, pinned to a CPU, and asked what it costs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "QEMU_GA_MISSING",
    "SERVICE",
    "AgentError",
    "AgentProcess",
    "drop_in_folder",
    "qemu_ga",
    "qemu_ga_program",
    "running",
    "virtagentd",
]

SERVICE = Path(__file__).with_name("drop_in") / "measured.py"
"""The service that the measured virtagentd loads."""

START_TIMEOUT = 20.0
"""Seconds for an agent to listen."""


QEMU_GA_MISSING = "qemu-ga is not installed: apt-get install qemu-guest-agent"


class AgentError(Exception):
    """An agent is not installed, or does not start; the message is one line for people."""


class AgentProcess:
    """A running agent.

    Attributes:
        path: the unix socket on which it listens.
    """

    def __init__(self, pid: int, path: Path) -> None:
        self.path = path
        self._proc = Path(f"/proc/{pid}")

    def cpu_seconds(self) -> float:
        """User and system time that it has used so far, in seconds; the kernel counts it in hundredths."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self) -> float:
        """Its resident memory, in MiB."""
        return self._memory("VmRSS")

    def peak_rss(self) -> float:
        """The most that its resident memory has been, in MiB."""
        return self._memory("VmHWM")

    def _memory(self, field: str) -> float:
        lines = (self._proc / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024

    def pin(self, cpus: Iterable[int]) -> None:
        """Let all its threads, and those that they start, run on these CPUs only."""
        allowed = set(cpus)
        for thread in (self._proc / "task").iterdir():
            os.sched_setaffinity(int(thread.name), allowed)


def qemu_ga_program() -> str | None:
    """The path of qemu-ga, or None where it is not installed."""
    paths = (Path(folder) / "qemu-ga" for folder in (*os.get_exec_path(), "/usr/sbin", "/sbin"))
    return next((str(path) for path in paths if os.access(path, os.X_OK)), None)


@contextmanager
def qemu_ga(directory: Path) -> Iterator[AgentProcess]:
    """Debian's qemu-ga on a unix socket, with its state and pid file in `directory`."""
    program = qemu_ga_program()
    if program is None:
        raise AgentError(QEMU_GA_MISSING)
    path = directory / "qemu-ga.sock"
    places = ["-t", str(directory), "-f", str(directory / "qemu-ga.pid")]
    with running([program, "-m", "unix-listen", "-p", str(path), *places], path) as agent:
        yield agent


@contextmanager
def virtagentd(directory: Path, loop: str) -> Iterator[AgentProcess]:
    """Our daemon on a unix socket.

    Args:
        loop: ``asyncio`` or ``uvloop``.
    """
    path = directory / f"virtagentd-{loop}.sock"
    command = [sys.executable, "-m", "virtagent.cli.daemon", "--loop", loop, "--log-level", "warning"]
    services = str(drop_in_folder(directory))
    with running([*command, "--channel", f"unix:{path}", "--services", services], path) as agent:
        yield agent


def drop_in_folder(directory: Path) -> Path:
    """A folder with SERVICE that nobody else may write to, as a checkout's may be: the daemon takes no other."""
    folder = directory / "services"
    folder.mkdir(mode=0o700, exist_ok=True)
    copy = folder / SERVICE.name
    copy.touch(mode=0o600)
    copy.write_bytes(SERVICE.read_bytes())
    return folder


@contextmanager
def running(command: Sequence[str], path: Path) -> Iterator[AgentProcess]:
    """A process that listens on `path`; it is terminated at the end.

    Raises:
        AgentError: it ends, or does not listen; one line says so.
    """
    process = subprocess.Popen(command)
    try:
        _wait_until_listening(process, path)
        yield AgentProcess(process.pid, path)
    finally:
        process.terminate()
        process.wait()


def _wait_until_listening(process: subprocess.Popen[bytes], path: Path) -> None:
    for _ in range(int(START_TIMEOUT * 1000)):
        if process.poll() is not None:
            raise AgentError(f"{process.args!r} ended with status {process.returncode}")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                time.sleep(0.001)
            else:
                return
    raise AgentError(f"{process.args!r} does not listen on {path}")
