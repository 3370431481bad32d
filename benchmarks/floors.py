"""The floors of this library's speed, beside the limits, in one run: ``make bench``.

Sequential and pipelined rows run with both processes on one CPU, streams on two. Rounds are interleaved, and each
figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks import start
from benchmarks.limits import BareClient, Prototype
from virtagent.peer.connecting import Connecting, ConnectingPeer
from virtagent.peer.options import PeerOptions

PAYLOAD = {"data": b"x" * 40}
CPU = max(os.sched_getaffinity(0))
GIB = 1 << 30

STARTS: dict[str, Callable[[Path], tuple[float, float]]] = {
    "bare": start.bare,
    "daemon": start.daemon,
    "daemon uvloop": lambda directory: start.daemon(directory, "uvloop"),
}


@contextlib.contextmanager
def server(kind: str, directory: Path, cpu: int | None) -> Iterator[str]:
    """A server process, ready."""
    path = str(directory / f"{kind}-{cpu}.sock")
    arguments = [sys.executable, "-m", "benchmarks.server", kind, path] + ([] if cpu is None else [str(cpu)])
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield path
    finally:
        process.terminate()
        process.wait()


@contextlib.asynccontextmanager
async def our_peer(path: str) -> AsyncIterator[ConnectingPeer]:
    async with Connecting(lambda: ConnectingPeer(f"unix:{path}", [], PeerOptions())) as peer:
        yield peer


async def sequential(call: Callable[[], Awaitable[Any]], count: int) -> tuple[float, float]:
    """p50 and p99 of calls one after the other, microseconds."""
    clock = time.perf_counter
    samples = []
    for _ in range(count):
        start = clock()
        await call()
        samples.append(clock() - start)
    cuts = quantiles(samples, n=100)
    return median(samples) * 1e6, cuts[98] * 1e6


async def pipelined(call: Callable[[], Awaitable[Any]], count: int, width: int = 64) -> float:
    """Calls per second with ``width`` of them in flight."""

    async def worker() -> None:
        for _ in range(count // width):
            await call()

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(width)))
    return count // width * width / (time.perf_counter() - start)


async def raw_copy(path: str) -> float:
    """A gibibyte over a raw asyncio socket, bytes per second."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_unix_connection(BareClient, path)
    reader = client.waiter = loop.create_future()
    client.wanted = 1
    chunk = bytes(256 * 1024)
    resumed = asyncio.Event()
    client.pause_writing = resumed.clear  # type: ignore[method-assign]
    client.resume_writing = resumed.set  # type: ignore[method-assign]
    resumed.set()
    start = time.perf_counter()
    for _ in range(GIB // len(chunk)):
        await resumed.wait()
        client.transport.write(chunk)
    await reader
    elapsed = time.perf_counter() - start
    client.transport.close()
    return GIB / elapsed


async def our_stream(path: str, *, ping: bool) -> tuple[float, float]:
    """A gibibyte as a stream, bytes per second, and the p99 of calls made meanwhile, in milliseconds."""
    async with our_peer(path) as peer:
        samples: list[float] = []
        done = asyncio.Event()

        async def pinging() -> None:
            while not done.is_set():
                start = time.perf_counter()
                await peer.call("echo", **PAYLOAD)
                samples.append(time.perf_counter() - start)
                await asyncio.sleep(0.001)

        task = asyncio.create_task(pinging()) if ping else None
        start = time.perf_counter()
        total = 0
        async with peer.stream("chunks", total=GIB, size=256 * 1024) as stream:
            async for chunk in stream:
                total += len(chunk)
        elapsed = time.perf_counter() - start
        done.set()
        if task is not None:
            await task
        assert total == GIB
        return GIB / elapsed, quantiles(samples, n=100)[98] * 1e3 if samples else 0.0


async def one_round(paths: dict[str, str], free: dict[str, str], count: int, out: dict[str, list[float]]) -> None:
    """One round of all rows."""
    loop = asyncio.get_running_loop()
    os.sched_setaffinity(0, {CPU})
    _, bare = await loop.create_unix_connection(BareClient, paths["bare"])
    record(out, "bare", await sequential(lambda: bare.echo(b"x" * 64), count))
    bare.transport.close()
    _, prototype = await loop.create_unix_connection(lambda: Prototype({}), paths["prototype"])
    record(out, "prototype", await sequential(lambda: prototype.call("echo", PAYLOAD), count))
    out.setdefault("prototype 64", []).append(await pipelined(lambda: prototype.call("echo", PAYLOAD), count * 4))
    prototype.transport.close()
    async with our_peer(paths["ours"]) as peer:
        record(out, "ours", await sequential(lambda: peer.call("echo", **PAYLOAD), count))
        before = await peer.call("cpu")
        out.setdefault("ours 64", []).append(await pipelined(lambda: peer.call("echo", **PAYLOAD), count * 4))
        out.setdefault("ours cpu", []).append((await peer.call("cpu") - before) / (count * 4) * 1e6)
        out.setdefault("ours task 64", []).append(await pipelined(lambda: peer.call("coroutine", **PAYLOAD), count * 4))
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    out.setdefault("raw", []).append(await raw_copy(free["sink"]))
    out.setdefault("stream", []).append((await our_stream(free["ours"], ping=False))[0])
    out.setdefault("ping p99", []).append((await our_stream(free["ours"], ping=True))[1])


def record(out: dict[str, list[float]], name: str, pair: tuple[float, float]) -> None:
    out.setdefault(f"{name} p50", []).append(pair[0])
    out.setdefault(f"{name} p99", []).append(pair[1])


def report(out: dict[str, list[float]], loop: str) -> None:
    """Print the table: each row beside its limit, with the floor of the issue it comes from."""
    m = {name: median(values) for name, values in out.items()}
    rows = [
        (
            "64 B echo p50, one CPU",
            f"{m['ours p50']:.1f} us",
            f"bare echo {m['bare p50']:.1f} us",
            m["ours p50"] / m["bare p50"],
            "<= 2",
        ),
        (
            "p99 / p50 of it",
            f"{m['ours p99'] / m['ours p50']:.2f}",
            f"bare {m['bare p99'] / m['bare p50']:.2f}",
            m["ours p99"] / m["ours p50"] / (m["bare p99"] / m["bare p50"]),
            "-",
        ),
        (
            "64 in flight, inline",
            f"{m['ours 64']:,.0f}/s",
            f"prototype {m['prototype 64']:,.0f}/s",
            m["ours 64"] / m["prototype 64"],
            ">= 0.4",
        ),
        ("64 in flight, coroutine", f"{m['ours task 64']:,.0f}/s", "our inline", m["ours task 64"] / m["ours 64"], "-"),
        ("server CPU per call", f"{m['ours cpu']:.1f} us", "", 0.0, "-"),
        (
            "1 GiB stream",
            f"{m['stream'] / 1e6:,.0f} MB/s",
            f"raw copy {m['raw'] / 1e6:,.0f} MB/s",
            m["stream"] / m["raw"],
            ">= 0.25",
        ),
        (
            "daemon's first answer",
            f"{m['daemon start'] * 1e3:.0f} ms",
            f"bare process {m['bare start'] * 1e3:.0f} ms",
            m["daemon start"] / m["bare start"],
            "<= 2",
        ),
        ("daemon's idle RSS", f"{m['daemon rss']:.1f} MiB", "28 MiB", m["daemon rss"] / 28, "<= 1"),
        (
            "the same with uvloop",
            f"{m['daemon uvloop start'] * 1e3:.0f} ms",
            f"bare process {m['bare start'] * 1e3:.0f} ms",
            m["daemon uvloop start"] / m["bare start"],
            "-",
        ),
        ("its idle RSS", f"{m['daemon uvloop rss']:.1f} MiB", "28 MiB", m["daemon uvloop rss"] / 28, "-"),
        ("ping during it, p99", f"{m['ping p99']:.2f} ms", "2 ms", m["ping p99"] / 2, "<= 1"),
    ]
    print(f"\nevent loop: {loop}; medians of {len(out['ours p50'])} interleaved rounds")
    print(f"{'':28}{'ours':>16}  {'limit':28}{'ratio':>7}  floor")
    for name, ours, limit, ratio, floor in rows:
        print(f"{name:28}{ours:>16}  {limit:28}{ratio:7.2f}  {floor}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=4000, help="calls in each sequential row")
    arguments = parser.parse_args()
    out: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        paths = {kind: stack.enter_context(server(kind, directory, CPU)) for kind in ("bare", "prototype", "ours")}
        free = {kind: stack.enter_context(server(kind, directory, None)) for kind in ("sink", "ours")}
        for _ in range(arguments.rounds):
            asyncio.run(one_round(paths, free, arguments.count, out))
            for kind, measure in STARTS.items():
                seconds, rss = measure(directory)
                out.setdefault(f"{kind} start", []).append(seconds)
                out.setdefault(f"{kind} rss", []).append(rss)
    report(out, "asyncio")
    print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB at most")


if __name__ == "__main__":
    main()
