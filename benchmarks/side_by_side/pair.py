"""One peer, measured once: a server process and a client process, both new."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from benchmarks.peers.peer import Subject
from benchmarks.side_by_side.found import Found

__all__ = ["Failed", "measure"]

ROOT = Path(__file__).parent.parent.parent
READY_TIMEOUT = 20.0
ERROR = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Failed|Exit)\b")
CLIENT_TIMEOUT = 60.0


class Failed(Exception):
    """A peer could not be measured; the text says why, in one line."""


def measure(subject: Subject, python: str, directory: Path, cpu: int, scale: float) -> Found:
    """Measure a peer once.

    Args:
        python: the interpreter that has its packages.
        directory: for sockets and logs; of this run.
        cpu: where the pinned workloads run.
        scale: of the seconds that each workload takes.

    Returns:
        Metrics by ``subject/workload/statistic``, and what failed by ``subject/workload``, or by ``subject``.
    """
    name = subject.name
    if missing := [program for program in subject.peer.programs if shutil.which(program) is None]:
        return Found(failures={name: f"{missing[0]} is not installed"})
    address = directory / f"{subject.peer.module}-{subject.loop}.sock"
    try:
        with server(subject, python, address, cpu) as (pid, said, ready_ms):
            told = {
                "peer": name,
                "loop": subject.loop,
                "address": said.get("address", str(address)),
                "server": pid,
                "brokers": said.get("brokers", []),
                "cpu": cpu,
                "scale": scale,
            }
            result = client(python, told, address.with_suffix(".client.log"))
    except Failed as failed:
        return Found(failures={name: str(failed)})
    metrics = {f"{name}/{metric}": value for metric, value in result["metrics"].items()}
    if subject.loop != "C":
        metrics[f"{name}/server/ready_ms"] = ready_ms
    return Found(metrics, {f"{name}/{workload}": why for workload, why in result["failures"].items()})


@contextlib.contextmanager
def server(subject: Subject, python: str, address: Path, cpu: int) -> Iterator[tuple[int, dict[str, Any], float]]:
    """A server process that listens: its process id, what it said, and the milliseconds since its start.

    Raises:
        Failed: it ended, or did not listen in time.
    """
    address.unlink(missing_ok=True)
    command = [python, "-m", "benchmarks.peers.server_process", subject.name, subject.loop, str(address), str(cpu)]
    log = address.with_suffix(".server.log")
    with log.open("wb") as errors:
        started = time.perf_counter()
        # A session of its own: a broker that it started ends with it.
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT, env=environment(), start_new_session=True
        )
        try:
            assert process.stdout is not None
            line = first_line(process.stdout, READY_TIMEOUT)
            ready_ms = (time.perf_counter() - started) * 1e3
            if not line:
                raise Failed(f"the server did not start: {last_line(log)}")
            yield process.pid, json.loads(line), ready_ms
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def first_line(stream: BinaryIO | Any, timeout: float) -> bytes:
    """The first line of a pipe, or nothing when it ends, or when nothing comes in time."""
    readable, _, _ = select.select([stream], [], [], timeout)
    line: bytes = stream.readline() if readable else b""
    return line


def client(python: str, told: dict[str, Any], log: Path) -> dict[str, Any]:
    """Run a client process; its result.

    Raises:
        Failed: it failed, or took too long.
    """
    command = [python, "-m", "benchmarks.peers.client_process", json.dumps(told)]
    with log.open("wb") as errors:
        try:
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env=environment(),
                timeout=CLIENT_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"the client took longer than {CLIENT_TIMEOUT:.0f} s") from None
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise Failed(f"the client failed: {last_line(log)}")
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def environment() -> dict[str, str]:
    """As installed: pip compiles what it installs, and what is imported from this tree must be compiled once, too."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def last_line(log: Path) -> str:
    """The line of stderr that says why: of tracebacks, the last one's error; else the last line."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if ERROR.match(line)]
    return (errors or lines or ["it said nothing"])[-1].strip()[:200]
