"""Payload size: one call's echo up to the limit of a message, a stream beyond."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import median

from benchmarks.growth.metric import Curve, Metric
from benchmarks.growth.peers import connected, weighed
from benchmarks.growth.process import reset_peak, usage
from virtagent.protocol.limits import MIB, Limits

__all__ = ["CURVE"]

LONGEST_CALL = Limits().message - 1024
"""A message has 16 MiB at most; a little of it is not payload."""

TIDY_AFTER = 0.8
"""Seconds after which buffers that only large messages need have been given back: a few keepalives of the server's."""

BYTES_A_POINT = 192 * MIB
MOST_REPEATS = 300


async def measure(size: int, directory: Path) -> dict[str, float]:
    """One size."""
    repeats = max(3, min(MOST_REPEATS, BYTES_A_POINT // size // 4))
    async with connected(directory) as peer:
        await peer.call("echo", data=b"")
        found: dict[str, float] = {}
        if size <= 16 * MIB:
            found |= await _echo(peer, min(size, LONGEST_CALL), repeats)
        return found | await _stream(peer, size, repeats)


async def _echo(peer, size: int, repeats: int) -> dict[str, float]:  # type: ignore[no-untyped-def]
    payload = bytes(size)
    here, there = await weighed(peer, collect=True)
    reset_peak()
    await peer.call("reset_peak")
    await peer.call("echo", data=payload)
    here_after, there_after = usage(), await peer.call("weigh")
    peak = max(0.0, here_after["peak"] - here["rss"]) + max(0.0, there_after["peak"] - there["rss"])
    samples = []
    for _ in range(repeats):
        begun = time.perf_counter()
        await peer.call("echo", data=payload)
        samples.append(time.perf_counter() - begun)
    await asyncio.sleep(TIDY_AFTER)
    after = await weighed(peer, collect=True)
    left = sum(later["rss"] - earlier["rss"] for earlier, later in zip((here, there), after, strict=True))
    return {"echo_s": median(samples), "echo_peak_bytes": peak, "echo_left_bytes": max(0.0, left)}


async def _stream(peer, size: int, repeats: int) -> dict[str, float]:  # type: ignore[no-untyped-def]
    samples = []
    here, there = await weighed(peer, collect=True)
    reset_peak()
    await peer.call("reset_peak")
    for _ in range(max(3, repeats // 3)):
        begun = time.perf_counter()
        total = 0
        async with peer.stream("source", total=size) as stream:
            async for chunk in stream:
                total += len(chunk)
        samples.append(time.perf_counter() - begun)
        if total != size:
            raise RuntimeError(f"a stream of {size} bytes gave {total}")
    here_after, there_after = usage(), await peer.call("weigh")
    peak = max(0.0, here_after["peak"] - here["rss"]) + max(0.0, there_after["peak"] - there["rss"])
    return {"stream_s": median(samples), "stream_peak_bytes": peak}


CURVE = Curve(
    name="payload",
    title="Payload size",
    axis="bytes",
    steps=tuple(4**power for power in range(14)),
    quick=(1, 16 * 1024, 64 * 1024, 256 * 1024),
    metrics=(
        Metric(name="echo_s", title="call, echoed", unit="s", expected="linear", per="byte"),
        Metric(name="stream_s", title="stream, one way", unit="s", expected="linear", per="byte"),
        Metric(
            name="echo_peak_bytes",
            title="memory of an echo, both ends",
            unit="bytes",
            expected="linear",
            resolution=2 * MIB,
            per="byte",
        ),
        Metric(
            name="echo_left_bytes",
            title="memory left after echoes, both ends",
            unit="bytes",
            expected="flat",
            resolution=3 * MIB,
        ),
        Metric(
            name="stream_peak_bytes",
            title="memory of a stream, both ends",
            unit="bytes",
            expected="flat",
            resolution=16 * MIB,
        ),
    ),
    measure=measure,
    note="A message has at most 16 MiB (the largest echo is 1 KiB less); larger payloads go by stream. Memory is the "
    "peak of the resident set above what it was before. A stream may hold 4 MiB of window and what both sockets and "
    "the send buffer hold, whatever its length: below 16 MiB that is the same.",
)
