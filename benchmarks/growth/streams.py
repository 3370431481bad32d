"""Open streams: every one waits for its next item."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.growth.calls import STEPS
from benchmarks.growth.metric import Curve, Metric
from benchmarks.growth.peers import connected, echo_latency, weighed
from benchmarks.growth.process import cpu_seconds
from virtagent.peer.connecting import ConnectingPeer
from virtagent.peer.stream import Stream
from virtagent.protocol.limits import KIB

__all__ = ["CURVE"]

REPEATS = 3
ITEMS = 3
"""Items that each stream gives in one load."""


async def measure(count: int, directory: Path) -> dict[str, float]:
    """So many open streams."""
    async with connected(directory) as peer:
        await echo_latency(peer)
        await _hold(peer, 1)
        idle = await weighed(peer, collect=True)
        first = await _hold(peer, count)
        once = await weighed(peer, collect=True)
        rounds = [first, *[await _hold(peer, count) for _ in range(REPEATS - 1)]]
        twice = await weighed(peer, collect=True)
        found = {name: median(each[name] for each in rounds) for name in first}
        found["rss_bytes"] = sum(first[f"rss {end}"] - idle[end]["rss"] for end in (0, 1))
        found["left_blocks"] = max(0.0, sum(twice[end]["blocks"] - once[end]["blocks"] for end in (0, 1)))
        for name in ("tasks", "descriptors"):
            if any(twice[end][name] > idle[end][name] for end in (0, 1)):
                raise RuntimeError(f"{count} streams have ended, and there are more {name} than before")
    return {name: value for name, value in found.items() if not name.startswith("rss ")}


async def _open(peer: ConnectingPeer) -> Stream:
    return await peer.stream("items").open()


async def _hold(peer: ConnectingPeer, count: int) -> dict[str, Any]:
    """Open them, let each give its items, look how the rest does meanwhile, and end them."""
    begun, cpu = time.perf_counter(), cpu_seconds() + (await peer.call("weigh"))["cpu"]
    streams = await asyncio.gather(*(_open(peer) for _ in range(count)))
    while await peer.call("held") < count:
        pass
    opened = time.perf_counter()
    for number in range(1, ITEMS + 1):
        peer.notify("publish")
        given = [await anext(stream) for stream in streams]
        if given != [number] * count:
            raise RuntimeError("a stream gave another item than the next")
    gave = time.perf_counter()
    latency = await echo_latency(peer)
    here, there = await weighed(peer)
    before_end = time.perf_counter()
    peer.notify("let_go")
    rests = [item for stream in streams async for item in stream]
    while await peer.call("held"):
        pass
    ended = time.perf_counter()
    if rests:
        raise RuntimeError("a stream gave an item after its end")
    used = cpu_seconds() + (await peer.call("weigh"))["cpu"] - cpu
    return {
        "open_s": opened - begun,
        "items_s": (gave - opened) / ITEMS,
        "end_s": ended - before_end,
        "cpu_s": used,
        "latency_s": latency,
        "rss 0": here["rss"],
        "rss 1": there["rss"],
    }


CURVE = Curve(
    name="streams",
    title="Open streams",
    axis="streams",
    steps=STEPS,
    quick=(1, 32, 100, 316),
    metrics=(
        Metric(name="open_s", title="open all", unit="s", expected="linear", per="stream"),
        Metric(name="items_s", title="one item on each", unit="s", expected="linear", per="stream"),
        Metric(name="end_s", title="end all", unit="s", expected="linear", per="stream"),
        Metric(name="cpu_s", title="CPU, both ends", unit="s", expected="linear", per="stream", resolution=0.002),
        Metric(name="latency_s", title="a call meanwhile", unit="s", expected="flat"),
        Metric(
            name="rss_bytes",
            title="memory, both ends",
            unit="bytes",
            expected="linear",
            per="stream",
            resolution=512 * KIB,
        ),
        Metric(
            name="left_blocks",
            title="blocks left by a second load",
            unit="blocks",
            expected="flat",
            counted=True,
            resolution=500,
        ),
    ),
    measure=measure,
    note="The limit of open streams is 1,024 by default; both ends have it raised to 20,000 here. Each stream is "
    "opened by a call of its own, is pumped by a task in the server, and gives three items. After the load, tasks and "
    "descriptors must be what they were before.",
)
