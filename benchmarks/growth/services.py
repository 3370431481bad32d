"""Services registered in a daemon: its start, its memory, the hello, and calls."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.growth.metric import Curve, Metric
from benchmarks.growth.peers import ECHOES
from benchmarks.growth.process import ROOT, environment, resident
from virtagent.host.connect import connect

__all__ = ["CURVE"]

CONNECTIONS = 9
START_TIMEOUT = 60.0

SOURCE = '''"""Service {number}."""

import msgspec
import virtagent


class Options{number}(msgspec.Struct):
    level: int = 3
    name: str = ""


class Service{number}(virtagent.Service, name="grown{number}"):
    """One of many."""

    async def echo(self, data: bytes) -> bytes:
        """Gives back what it gets."""
        return data

    async def run(self, path: str, *, options: Options{number} | None = None) -> dict[str, int]:
        """Has a struct of its own to describe."""
        return {{"level": options.level if options else 0}}
'''


async def measure(count: int, directory: Path) -> dict[str, float]:
    """A daemon with so many drop-in services."""
    folder = directory / "services"
    folder.mkdir(mode=0o700)
    for number in range(count):
        file = folder / f"grown{number}.py"
        file.write_text(SOURCE.format(number=number))
        file.chmod(0o600)
    path = directory / "daemon.sock"
    begun = time.perf_counter()
    daemon = _start(folder, path)
    try:
        found = await _first_answer(path, begun)
        found["rss_bytes"] = resident(daemon.pid)
        found["start_cpu_s"] = _cpu_of(daemon.pid)
        return found | await _calls(path, count)
    finally:
        daemon.terminate()
        daemon.wait(START_TIMEOUT)


def _start(folder: Path, path: Path) -> subprocess.Popen[bytes]:
    """A daemon that has begun to listen.

    Raises:
        RuntimeError: it ended, or took too long.
    """
    options = ["--services", str(folder), "--channel", f"unix:{path}", "--heartbeat", "0", "--loop", "asyncio"]
    command = [sys.executable, "-m", "virtagent.cli.daemon", *options, "--log-level", "error"]
    daemon = subprocess.Popen(command, cwd=ROOT, env=environment())
    end = time.monotonic() + START_TIMEOUT
    while not path.exists():
        if daemon.poll() is not None or time.monotonic() > end:
            daemon.kill()
            daemon.wait()
            raise RuntimeError("the daemon did not start; its error is above")
        time.sleep(0.001)
    return daemon


def _cpu_of(pid: int) -> float:
    """User and system time of another process so far, seconds (proc(5): fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _first_answer(path: Path, begun: float) -> dict[str, float]:
    """From the daemon's start to its first answer."""
    async with connect(f"unix:{path}", wait=True, timeout=START_TIMEOUT) as guest:
        await guest.agent.ping()
        return {"start_s": time.perf_counter() - begun}


async def _calls(path: Path, count: int) -> dict[str, float]:
    hellos, lists = [], []
    for _ in range(CONNECTIONS):
        begun = time.perf_counter()
        async with connect(f"unix:{path}") as guest:
            hellos.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            methods = await guest.call("rpc.methods")
            lists.append(time.perf_counter() - begun)
            if len(methods) < 2 * count:
                raise RuntimeError(f"{count} services are registered, but {len(methods)} methods are told of")
    samples = []
    async with connect(f"unix:{path}") as guest:
        for _ in range(ECHOES):
            begun = time.perf_counter()
            await guest.call(f"grown{count - 1}.echo", data=b"x" * 40)
            samples.append(time.perf_counter() - begun)
    return {"hello_s": median(hellos), "methods_s": median(lists), "call_s": median(samples)}


CURVE = Curve(
    name="services",
    title="Services registered",
    axis="services",
    steps=(1, 3, 10, 32, 100, 316, 1000),
    quick=(1, 4, 16, 64),
    metrics=(
        Metric(name="start_s", title="start to first answer", unit="s", expected="linear", per="service"),
        Metric(
            name="start_cpu_s",
            title="CPU of the start",
            unit="s",
            expected="linear",
            per="service",
            resolution=0.02,
        ),
        Metric(name="hello_s", title="connect and hello", unit="s", expected="flat"),
        Metric(name="call_s", title="call of the last one", unit="s", expected="flat"),
        Metric(name="methods_s", title="rpc.methods", unit="s", expected="linear", per="service"),
        Metric(
            name="rss_bytes",
            title="memory of the daemon",
            unit="bytes",
            expected="linear",
            per="service",
        ),
    ),
    measure=measure,
    note="`virtagentd --services` with so many drop-in files of one service each, with two methods and a struct; plain "
    "asyncio. The hello carries a digest of all methods, so it is as long with 1,000 services as with one.",
)
