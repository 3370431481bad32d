"""The calling end of a point: a connection to the server, and latencies seen from it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.growth.process import Usage, running, usage
from benchmarks.growth.server import OPTIONS
from virtagent.peer.caller import Caller
from virtagent.peer.connecting import Connecting, ConnectingPeer

__all__ = ["connected", "echo_latency", "weighed"]

ECHOES = 200
"""Calls whose median is one latency."""


@contextlib.asynccontextmanager
async def connected(directory: Path) -> AsyncIterator[ConnectingPeer]:
    """A peer that is connected to a server process of its own."""
    path = directory / "server.sock"
    with running("benchmarks.growth.server", str(path)):
        async with Connecting(lambda: ConnectingPeer(f"unix:{path}", [], OPTIONS)) as peer:
            yield peer


async def echo_latency(peer: Caller, count: int = ECHOES, payload: Any = b"x" * 40) -> float:
    """The median time of calls made one after the other, seconds."""
    clock = time.perf_counter
    samples = []
    for _ in range(count):
        begun = clock()
        await peer.call("echo", data=payload)
        samples.append(clock() - begun)
    return median(samples)


async def weighed(peer: Caller, *, collect: bool = False) -> tuple[Usage, Usage]:
    """What this process and the server weigh."""
    there = await peer.call("weigh", collect=collect)
    return usage(collect=collect), there
