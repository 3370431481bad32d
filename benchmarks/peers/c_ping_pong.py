"""The limit below any Python: ``c_ping_pong.c``, compiled beside the sockets of the run."""

from __future__ import annotations

import os
import subprocess
from array import array
from pathlib import Path

from benchmarks.peers.peer import Ready

__all__ = ["driver", "serve"]

SOURCE = Path(__file__).with_suffix(".c")
NANOSECONDS = 1e9


def program(address: str) -> str:
    """The compiled program, in the directory of the sockets; compiled if it is not there yet."""
    binary = Path(address).parent / SOURCE.stem
    if not binary.exists():
        command = ["cc", "-O2", "-Wall", "-Wextra", "-o", str(binary), str(SOURCE)]
        compiled = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if compiled.returncode:
            raise RuntimeError(f"cc failed: {compiled.stderr.strip()}")
    return str(binary)


def serve(address: str, ready: Ready) -> None:
    """Become the server; it says itself that it listens."""
    binary = program(address)
    os.execv(binary, [binary, "serve", address])


class Driver:
    """The workloads of a client that is a program of its own."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.program = program(address)

    def samples(self, *arguments: str) -> list[float]:
        run = subprocess.run([self.program, *arguments], stdout=subprocess.PIPE, check=True, timeout=60)
        return [taken / NANOSECONDS for taken in array("Q", run.stdout)]

    async def sequential(self, _: str, payload: bytes, seconds: float) -> list[float]:
        return self.samples("echo", self.address, str(len(payload)), str(seconds))

    async def in_flight(self, _: str, payload: bytes, seconds: float, width: int) -> tuple[int, float]:
        raise NotImplementedError("one call at a time")

    async def stream(self, total: int) -> float:
        return self.samples("stream", self.address, str(total))[0]

    async def close(self) -> None:
        """Nothing is open between workloads."""


def driver(address: str) -> Driver:
    return Driver(address)
