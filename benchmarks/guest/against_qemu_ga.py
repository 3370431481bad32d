"""virtagentd beside Debian's qemu-ga, both on unix sockets of this machine.

qemu-ga's client is a blocking socket, the cheapest there is in Python; ours is the asyncio host library. Pings are
measured with both ends on one CPU, where no wake-up crosses CPUs, and again with the scheduler free to choose.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import virtagent
from benchmarks.guest.agent_process import AgentProcess, qemu_ga, virtagentd
from benchmarks.guest.qemu_ga_client import LARGEST_COUNT, QemuGaClient
from benchmarks.guest.samples import summary, timed, timed_blocking
from benchmarks.guest.subjects import SUBJECTS, run

__all__ = ["CALLS", "SIZE", "one_round"]

CALLS = 3000
"""Pings of one workload."""

SIZE = 96 << 20
"""Bytes of the file that is read."""

QEMU_GA_READS = {"file read": (LARGEST_COUNT, 1), "file read 1 MiB": (1 << 20, 1), "file read 4 KiB": (4096, 16)}
"""Workloads: the bytes of one guest-file-read (the most it allows, about the fastest, its default), and which part of
the file is read: the default is slow, and its rate does not depend on the size."""

OUR_READS = 6
"""Times that our agent reads the file: once is over before CPU time, counted in hundredths of a second, says much."""


def one_round(directory: Path, *, calls: int = CALLS, size: int = SIZE) -> dict[str, float]:
    """Start the agents, measure each in turn, and end them. Not inside a running event loop: it runs its own.

    Args:
        directory: for sockets, state and the files; short, as a unix socket's path has at most 107 bytes.
        calls: pings of one workload.
        size: bytes of the file.

    Returns:
        Metrics by their flat names: ``qemu-ga/ping one CPU/p50_us``, ``ours/file read/MB_per_s``, ...

    Raises:
        AgentError: qemu-ga is not installed, or an agent does not start; one line says so.
    """
    metrics: dict[str, float] = {}
    with ExitStack() as stack:
        theirs = stack.enter_context(qemu_ga(directory))
        ours = {name: stack.enter_context(virtagentd(directory, loop)) for name, loop in SUBJECTS.items()}
        everywhere = os.sched_getaffinity(0)
        for workload, cpus in (("one CPU", {max(everywhere)}), ("free", everywhere)):
            with _pinned([theirs, *ours.values()], cpus):
                metrics |= _qemu_ga_pings(theirs, workload, calls)
                for name, agent in ours.items():
                    metrics |= run(name, _our_pings(name, agent, workload, calls))
        for name, agent in {"qemu-ga": theirs, **ours}.items():
            metrics[f"{name}/idle/rss_MiB"] = agent.rss()
        for workload, (count, part) in QEMU_GA_READS.items():
            metrics |= _qemu_ga_read(theirs, workload, _file_of(directory, size // part), count)
        for name, agent in ours.items():
            metrics |= run(name, _our_read(name, agent, _file_of(directory, size)))
    return metrics


def _file_of(directory: Path, size: int) -> Path:
    """A file of `size` bytes, just written if it was not there: it is in the page cache."""
    path = directory / f"read-{size}"
    if not path.exists():
        piece = os.urandom(1 << 20)
        path.write_bytes((piece * (size // len(piece) + 1))[:size])
    return path


@contextmanager
def _pinned(agents: list[AgentProcess], cpus: set[int]) -> Iterator[None]:
    """This process and the agents on some CPUs, for the length of the block."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    for agent in agents:
        agent.pin(cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        for agent in agents:
            agent.pin(before)


def _qemu_ga_pings(agent: AgentProcess, workload: str, calls: int) -> dict[str, float]:
    with QemuGaClient(agent.path) as client:
        return summary(f"qemu-ga/ping {workload}", timed_blocking(client.ping, calls))


def _qemu_ga_read(agent: AgentProcess, workload: str, path: Path, count: int) -> dict[str, float]:
    with QemuGaClient(agent.path) as client:
        cost = _Cost(agent)
        return cost.metrics(f"qemu-ga/{workload}", client.read_file(path, count))


async def _our_pings(name: str, agent: AgentProcess, workload: str, calls: int) -> dict[str, float]:
    async with virtagent.connect(f"unix:{agent.path}") as guest:
        return {
            # the counterpart of guest-ping: a call by name, without arguments, answered with nothing
            **summary(f"{name}/ping {workload}", await timed(lambda: guest.call("measured.nothing"), calls)),
            **summary(f"{name}/echo 64 B {workload}", await timed(lambda: _echo(guest), calls)),
            **summary(f"{name}/agent.ping {workload}", await timed(guest.agent.ping, calls)),
        }


async def _echo(guest: virtagent.Guest) -> None:
    await guest.call("measured.echo", data=_PAYLOAD)


_PAYLOAD = bytes(64)


async def _our_read(name: str, agent: AgentProcess, path: Path) -> dict[str, float]:
    async with virtagent.connect(f"unix:{agent.path}") as guest:
        cost = _Cost(agent)
        total = 0
        for _ in range(OUR_READS):
            async for chunk in guest.files.read(str(path)):
                total += len(chunk)
        return cost.metrics(f"{name}/file read", total)


class _Cost:
    """What an agent and its client spend from now on."""

    def __init__(self, agent: AgentProcess) -> None:
        self._agent = agent
        self._agent_cpu = agent.cpu_seconds()
        self._own_cpu = time.process_time()
        self._started = time.perf_counter()

    def metrics(self, name: str, size: int) -> dict[str, float]:
        """Rate, CPU time of both sides and the agent's memory, after `size` bytes."""
        elapsed = time.perf_counter() - self._started
        own = time.process_time() - self._own_cpu
        mebibytes = size / (1 << 20)
        return {
            f"{name}/MB_per_s": size / elapsed / 1e6,
            f"{name}/agent_cpu_ms_per_MiB": (self._agent.cpu_seconds() - self._agent_cpu) * 1e3 / mebibytes,
            f"{name}/client_cpu_ms_per_MiB": own * 1e3 / mebibytes,
            f"{name}/peak_rss_MiB": self._agent.peak_rss(),
        }
