"""From nothing to the first answer, in a process that is warm, both ends on one CPU."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import virtagent
from benchmarks.limits import ECHO_CLIENT
from benchmarks.loops import loop_factory
from benchmarks.rows.lane import our_peer
from benchmarks.rows.sequential import PAYLOAD
from benchmarks.rows.setting import CPU, Setting, pinned, subject_on
from benchmarks.rows.timing import percentile

__all__ = ["measure"]

WORKLOAD = "connect to first answer"
PASSES, COUNT, WARM_UP = 4, 20, 5

Connect = Callable[[str, str], Awaitable[float]]


def measure(setting: Setting) -> dict[str, float]:
    """``{ours, ours peer, bare echo}[ uvloop]/connect to first answer/p50_us``.

    ``ours`` is :func:`virtagent.connect`, hello included, and a call; ``ours peer`` the same below services and stubs;
    ``bare echo`` connects and makes two echoes. Closing is not counted.
    """
    subjects: list[tuple[str, str, str, Connect]] = []
    for loop in setting.loops:
        ours = setting.servers.get("ours", loop, CPU).path
        subjects += [
            ("ours", loop, ours, connect_guest),
            ("ours peer", loop, ours, connect_peer),
            ("bare echo", loop, setting.servers.get("bare echo", loop, CPU).path, connect_bare),
        ]
    times: dict[str, list[float]] = {}
    with pinned():
        for number in range(PASSES):
            for subject, loop, path, connect in setting.rotated(subjects, number):
                with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
                    found = runner.run(repeat(connect, path, loop, setting.count(WARM_UP), setting.count(COUNT)))
                times.setdefault(f"{subject_on(subject, loop)}/{WORKLOAD}/p50_us", []).extend(found)
    return {name: percentile(each, 0.5) * 1e6 for name, each in times.items()}


async def repeat(connect: Connect, path: str, loop: str, warm_up: int, count: int) -> list[float]:
    """Connect again and again; how long each took, in seconds."""
    for _ in range(warm_up):
        await connect(path, loop)
    return [await connect(path, loop) for _ in range(count)]


async def connect_guest(path: str, loop: str) -> float:
    """As tools do it."""
    start = time.perf_counter()
    async with virtagent.connect(f"unix:{path}") as guest:
        await guest.call("echo", data=PAYLOAD)
        return time.perf_counter() - start


async def connect_peer(path: str, loop: str) -> float:
    """A bare peer."""
    start = time.perf_counter()
    async with our_peer(path, loop) as peer:
        await peer.call("echo", data=PAYLOAD)
        return time.perf_counter() - start


async def connect_bare(path: str, loop: str) -> float:
    """A socket and two round trips: one for what the hello is, one for the call."""
    start = time.perf_counter()
    transport, client = await asyncio.get_running_loop().create_unix_connection(ECHO_CLIENT[loop], path)
    try:
        await client.echo(PAYLOAD)
        await client.echo(PAYLOAD)
        return time.perf_counter() - start
    finally:
        transport.close()
