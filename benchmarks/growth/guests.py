"""Connected guests in one host process, idle and with heartbeats."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.growth.guest_process import KEEPALIVE, guest_url
from benchmarks.growth.metric import Curve, Metric
from benchmarks.growth.process import cpu_seconds, running, usage
from virtagent.api.agent import AgentEvents, Down, Heartbeat, Up
from virtagent.host.connect import connect
from virtagent.host.guest import Guest
from virtagent.protocol.limits import KIB
from virtagent.service.options import method

__all__ = ["CURVE"]

A_PROCESS = 250
"""Guests in one process of guests: two descriptors each, and none of them the subject."""

AT_A_TIME = 16
"""Connections that are made at a time, as a host does that comes up."""

WINDOW = 1.5
"""Seconds over which CPU time is taken: a heartbeat of each, at least."""

HEARTBEAT = 1.0
"""Seconds between heartbeats here; the daemon's default is 10, which costs a tenth of this."""

SETTLE = 0.2
"""Seconds in which what has just been connected or closed comes to rest."""

PINGS = 100
DESCRIPTORS = 1200
"""What a host of 1,000 guests needs open."""


class Events(AgentEvents):
    """Counts what the guests notify."""

    def __init__(self) -> None:
        self.beats = 0

    @method(inline=True)
    def up(self, event: Up) -> None:
        pass

    @method(inline=True)
    def down(self, event: Down) -> None:
        pass

    @method(inline=True)
    def heartbeat(self, event: Heartbeat) -> None:
        self.beats += 1


async def measure(count: int, directory: Path) -> dict[str, float]:
    """So many guests, at first idle, then others with heartbeats."""
    _raise_descriptors()
    idle = await _connected(count, directory, heartbeat=0.0)
    beating = await _connected(count, directory, heartbeat=HEARTBEAT)
    return {
        "connect_s": idle["connect_s"],
        "rss_bytes": idle["rss_bytes"],
        "idle_cpu_s": idle["cpu_s"],
        "beating_cpu_s": beating["cpu_s"],
        "ping_s": idle["ping_s"],
        "close_s": idle["close_s"],
        "left_blocks": beating["left_blocks"],
    }


def _raise_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < DESCRIPTORS:
        wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        if wanted < DESCRIPTORS:
            raise RuntimeError(f"a host of 1,000 guests needs {DESCRIPTORS} descriptors: ulimit -n {DESCRIPTORS}")


@contextlib.contextmanager
def _guests(count: int, directory: Path, heartbeat: float) -> Iterator[None]:
    """The processes of so many guests."""
    with contextlib.ExitStack() as stack:
        for first in range(0, count, A_PROCESS):
            number = min(A_PROCESS, count - first)
            arguments = (str(directory), str(first), str(number), str(heartbeat))
            stack.enter_context(running("benchmarks.growth.guest_process", *arguments))
        yield


async def _connected(count: int, directory: Path, *, heartbeat: float) -> dict[str, float]:
    events = Events()
    keepalive = KEEPALIVE if heartbeat else 0.0
    places = asyncio.Semaphore(AT_A_TIME)

    async def one(number: int) -> Guest:
        async with places:
            return await connect(guest_url(str(directory), number), services=[events], keepalive=keepalive)

    with _guests(count, directory, heartbeat):
        warm = await one(0)  # loads and compiles what the first connection needs
        await warm.agent.ping()
        await warm.aclose()
        before = usage(collect=True)
        begun = time.perf_counter()
        guests = await asyncio.gather(*(one(number) for number in range(count)))
        connected = time.perf_counter()
        weight = usage(collect=True)
        await asyncio.sleep(SETTLE)  # greetings
        events.beats = 0
        cpu, since = cpu_seconds(), time.perf_counter()
        await asyncio.sleep(WINDOW)
        used = (cpu_seconds() - cpu) / (time.perf_counter() - since)
        if heartbeat and events.beats < count:
            raise RuntimeError(f"{events.beats} heartbeats of {count} guests in {WINDOW:g} s")
        ping = await _ping(guests[count // 2])
        closing = time.perf_counter()
        await asyncio.gather(*(guest.aclose() for guest in guests))
        closed = time.perf_counter()
        del guests
        await asyncio.sleep(SETTLE)
        after = usage(collect=True)
        for name in ("tasks", "descriptors"):
            if after[name] > before[name]:
                raise RuntimeError(
                    f"{count} guests are closed, and {after[name] - before[name]:g} more {name} than before"
                )
    return {
        "connect_s": connected - begun,
        "left_blocks": max(0.0, after["blocks"] - before["blocks"]),
        "rss_bytes": weight["rss"] - before["rss"],
        "cpu_s": used,
        "ping_s": ping,
        "close_s": closed - closing,
    }


async def _ping(guest: Guest) -> float:
    samples = []
    for _ in range(PINGS):
        begun = time.perf_counter()
        await guest.agent.ping()
        samples.append(time.perf_counter() - begun)
    return median(samples)


CURVE = Curve(
    name="guests",
    title="Connected guests",
    axis="guests",
    steps=(1, 3, 10, 32, 100, 316, 1000),
    quick=(1, 4, 16, 64),
    metrics=(
        Metric(name="connect_s", title="connect all", unit="s", expected="linear", per="guest"),
        Metric(name="close_s", title="close all", unit="s", expected="linear", per="guest"),
        Metric(
            name="idle_cpu_s",
            title="CPU of the host in a second, idle",
            unit="s",
            expected="linear",
            per="guest",
            resolution=0.002,
        ),
        Metric(
            name="beating_cpu_s",
            title="CPU of the host in a second, a heartbeat each",
            unit="s",
            expected="linear",
            per="guest",
            resolution=0.002,
        ),
        Metric(name="ping_s", title="typed ping of one of them", unit="s", expected="flat"),
        Metric(
            name="rss_bytes",
            title="memory of the host",
            unit="bytes",
            expected="linear",
            per="guest",
            resolution=512 * KIB,
        ),
        Metric(
            name="left_blocks",
            title="blocks left by closed guests",
            unit="blocks",
            expected="flat",
            counted=True,
            resolution=5000,
        ),
    ),
    measure=measure,
    rounds=2,
    note="One host process with a typed `Guest` for each, over unix sockets; the guests have the agent's service and "
    f"presence, and live in processes of {A_PROCESS}. Idle: no keepalive, no heartbeats. With heartbeats: one each "
    f"second (the daemon's default is one in 10 s) and keepalive of {KEEPALIVE:g} s both ways. Connections are made "
    f"{AT_A_TIME} at a time. After closing them, tasks and descriptors must be what they were before.",
)
