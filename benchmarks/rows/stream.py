"""A gibibyte one way, each end on a CPU of its own if there are two: ours, and raw bytes; and calls made meanwhile."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.rows.lane import Lane, lanes
from benchmarks.rows.sequential import PAYLOAD
from benchmarks.rows.setting import Setting, unpinned
from benchmarks.rows.timing import percentile
from virtagent.peer.peer import Peer

__all__ = ["measure"]

MIB = 1024 * 1024
CHUNK = 256 * 1024
TOTAL = 1024
"""MiB of a stream."""

WARM_UP = 64
"""MiB."""

PAUSE = 0.001
"""Seconds between the calls that are made during a stream."""


def measure(setting: Setting) -> dict[str, float]:
    """``{ours, raw copy}[ uvloop]/stream/MB_per_s`` and ``ours[ uvloop]/ping during stream/{p50_ms,p99_ms}``.

    A megabyte is 10^6 bytes. The ping is a call of an inline handler on the stream's own connection, one after the
    other with a pause.
    """
    get = setting.servers.get
    wanted = [
        (subject, loop, get(subject, loop, None).path) for loop in setting.loops for subject in ("raw copy", "ours")
    ]
    total = setting.count(TOTAL) * MIB
    metrics: dict[str, float] = {}
    with unpinned(), lanes(wanted) as opened:
        for lane in opened:
            lane.run(copy(lane, setting.count(WARM_UP) * MIB))
        for lane in setting.rotated(opened):
            metrics[f"{lane.name}/stream/MB_per_s"] = total / lane.run(copy(lane, total)) / 1e6
            if lane.subject == "ours":
                times = lane.run(pings_meanwhile(lane.client, total))
                metrics[f"{lane.name}/ping during stream/p50_ms"] = percentile(times, 0.5) * 1e3
                metrics[f"{lane.name}/ping during stream/p99_ms"] = percentile(times, 0.99) * 1e3
    return metrics


async def copy(lane: Lane[Any], total: int) -> float:
    """Receive so many bytes; how many seconds it took."""
    start = time.perf_counter()
    if lane.subject == "ours":
        await receive(lane.client, total)
    else:
        await lane.client.receive(total)
    return time.perf_counter() - start


async def receive(peer: Peer, total: int) -> None:
    """Read a stream to its end.

    Raises:
        RuntimeError: it had another length.
    """
    received = 0
    async with peer.stream("chunks", total=total, size=CHUNK) as stream:
        async for chunk in stream:
            received += len(chunk)
    if received != total:
        raise RuntimeError(f"{received} of {total} bytes of the stream came")


async def pings_meanwhile(peer: Peer, total: int) -> list[float]:
    """The times of calls during a stream, in seconds each."""
    streaming = asyncio.create_task(receive(peer, total))
    times = []
    while not streaming.done():
        start = time.perf_counter()
        await peer.call("echo", data=PAYLOAD)
        times.append(time.perf_counter() - start)
        await asyncio.sleep(PAUSE)
    await streaming
    return times
