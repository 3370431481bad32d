"""The processes at the other end: started when a row first needs them, ended with the run."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from benchmarks.start import START_TIMEOUT, StartFailed, command, stop

__all__ = ["Server", "Servers"]


@dataclass(frozen=True, slots=True)
class Server:
    """One of them.

    Attributes:
        path: of its unix socket.
        process: its process.
    """

    path: str
    process: subprocess.Popen[bytes]

    def cpu_seconds(self) -> float:
        """The CPU time that all its threads have used so far."""
        # The clock of another process: clock_getcpuclockid(3) makes the number in this way on Linux.
        return time.clock_gettime((~self.process.pid << 3) | 2)


class Servers:
    """Servers by what they serve, their event loop and their CPU."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="rows-")
        self._servers: dict[tuple[str, str, int | None], Server] = {}
        self._cpus = os.sched_getaffinity(0)  # kept: whoever measures is pinned at times, and children inherit that

    @property
    def directory(self) -> Path:
        """Where sockets are made."""
        return Path(self._directory.name)

    def get(self, kind: str, loop: str, cpu: int | None) -> Server:
        """A server that listens, the same one at each call.

        Args:
            kind: one of :data:`benchmarks.server.KINDS`.
            loop: "asyncio" or "uvloop".
            cpu: the CPU it is pinned to; None: any.

        Raises:
            StartFailed: it does not come up.
        """
        key = (kind, loop, cpu)
        if key not in self._servers:
            self._servers[key] = self._start(kind, loop, cpu)
        return self._servers[key]

    def _start(self, kind: str, loop: str, cpu: int | None) -> Server:
        path = str(self.directory / f"{len(self._servers)}.sock")
        arguments = [sys.executable, "-m", "benchmarks.server", kind, path, "--loop", loop]
        root = Path(__file__).parents[2]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=root)
        server = Server(path, process)
        try:
            os.sched_setaffinity(process.pid, self._cpus if cpu is None else {cpu})
            wait_ready(server)
        except BaseException:
            stop(server.process)
            raise
        return server

    def close(self) -> None:
        """End all."""
        for server in self._servers.values():
            stop(server.process)
        self._servers.clear()
        self._directory.cleanup()

    def __enter__(self) -> Servers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def wait_ready(server: Server) -> None:
    """Wait until a server listens."""
    pipe = server.process.stdout
    assert pipe is not None
    with pipe:
        if not select.select([pipe], [], [], START_TIMEOUT)[0]:
            raise StartFailed(f"{command(server.process)} does not listen after {START_TIMEOUT:g} s")
        if pipe.readline() != b"ready\n":
            raise StartFailed(f"{command(server.process)} ended before it listened; its error is above")
