"""Calls in flight: the handlers of all of them wait at once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.growth.metric import Curve, Metric
from benchmarks.growth.peers import connected, echo_latency, weighed
from benchmarks.growth.process import cpu_seconds
from virtagent.peer.connecting import ConnectingPeer
from virtagent.protocol.limits import KIB

__all__ = ["CURVE"]

REPEATS = 3
PARAMS = {"data": b"x" * 40}


async def measure(count: int, directory: Path) -> dict[str, float]:
    """So many calls in flight."""
    async with connected(directory) as peer:
        await echo_latency(peer)  # whatever is made at first use is made now
        await _hold(peer, 1)
        idle = await weighed(peer, collect=True)
        first = await _hold(peer, count)
        once = await weighed(peer, collect=True)
        rounds = [first, *[await _hold(peer, count) for _ in range(REPEATS - 1)]]
        twice = await weighed(peer, collect=True)
        found = {name: median(each[name] for each in rounds) for name in first}
        found["rss_bytes"] = sum(first[f"rss {end}"] - idle[end]["rss"] for end in (0, 1))
        found["left_blocks"] = max(0.0, sum(twice[end]["blocks"] - once[end]["blocks"] for end in (0, 1)))
        found["left_handles"] = sum(
            twice[end][name] - idle[end][name] for end in (0, 1) for name in ("tasks", "descriptors")
        )
        found["pipelined_s"] = median([await _pipelined(peer, count) for _ in range(REPEATS)])
    if found.pop("left_handles"):
        raise RuntimeError(f"{count} calls have ended, and there are more tasks or descriptors than before")
    return {name: value for name, value in found.items() if not name.startswith("rss ")}


async def _hold(peer: ConnectingPeer, count: int) -> dict[str, Any]:
    """Open them, look how the rest does meanwhile, and end them."""
    begun, cpu = time.perf_counter(), cpu_seconds() + (await peer.call("weigh"))["cpu"]
    tasks = [asyncio.ensure_future(peer.call("hold", **PARAMS)) for _ in range(count)]
    while await peer.call("held") < count:
        pass
    opened = time.perf_counter()
    latency = await echo_latency(peer)
    here, there = await weighed(peer)
    before_end = time.perf_counter()
    await peer.call("let_go")
    await asyncio.gather(*tasks)
    ended = time.perf_counter()
    used = cpu_seconds() + (await peer.call("weigh"))["cpu"] - cpu
    return {
        "open_s": opened - begun,
        "end_s": ended - before_end,
        "cpu_s": used,
        "latency_s": latency,
        "rss 0": here["rss"],
        "rss 1": there["rss"],
    }


async def _pipelined(peer: ConnectingPeer, count: int) -> float:
    """So many calls of an inline handler at once, seconds for all."""
    begun = time.perf_counter()
    await asyncio.gather(*(peer.call("echo", **PARAMS) for _ in range(count)))
    return time.perf_counter() - begun


STEPS = (1, 3, 10, 32, 100, 316, 1000, 3162, 10_000)

CURVE = Curve(
    name="calls",
    title="Calls in flight",
    axis="calls",
    steps=STEPS,
    quick=(1, 32, 100, 316),
    metrics=(
        Metric(name="open_s", title="open all", unit="s", expected="linear", per="call"),
        Metric(name="end_s", title="answer all", unit="s", expected="linear", per="call"),
        Metric(name="pipelined_s", title="inline echoes at once", unit="s", expected="linear", per="call"),
        Metric(name="cpu_s", title="CPU, both ends", unit="s", expected="linear", per="call", resolution=0.002),
        Metric(name="latency_s", title="another call meanwhile", unit="s", expected="flat"),
        Metric(
            name="rss_bytes",
            title="memory, both ends",
            unit="bytes",
            expected="linear",
            per="call",
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
    note="The limit of open calls is 1,024 by default; both ends have it raised to 20,000 here. Handlers are "
    "coroutines that wait until all are open. After the load, tasks and descriptors must be what they were before.",
)
