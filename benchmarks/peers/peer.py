"""The interface that everything under measure has, and the workloads.

Each module of this package has, as functions of its own:

``serve(address, ready)``
    The server side, for ever; ``async def`` or plain. It calls ``ready`` when it listens.
``connect(address)``
    The client side; ``async def`` where the library is. It gives an object with ``call(payload)`` and ``close()``,
    ``async def`` or plain like ``connect``, and what else its workloads need.
``run(coroutine)``
    Only where a library has a loop of its own to enter (pycapnp).
``driver(address)``
    Only where the client is no Python (the C ping-pong).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

__all__ = ["CHUNK", "WORKLOADS", "Loop", "Peer", "Ready", "Role", "Subject", "Workload", "windowed"]

Loop = Literal["asyncio", "uvloop", "own asyncio", "blocking", "gevent", "C"]
Role = Literal["ours", "limit", "peer"]

CHUNK = 256 * 1024
"""Bytes of one chunk of a stream."""


class Ready(Protocol):
    """What a server side calls when it listens."""

    def __call__(self, *, address: str | None = None, brokers: tuple[int, ...] = ()) -> None:
        """
        Args:
            address: where to connect, if not at the address that was asked for.
            brokers: process ids of brokers that the server side started.
        """


@dataclass(frozen=True, slots=True)
class Workload:
    """What is done with a peer.

    Attributes:
        name: the middle part of its metrics' names.
        kind: ``sequential`` gives p50_us and p99_us, ``in flight`` calls_per_s and server_cpu_us, ``payload`` and
            ``stream`` MB_per_s (10^6 bytes, counted in one direction).
        pinned: both ends run on one CPU, instead of free on all.
        size: bytes of the payload.
        method: of the client, that makes one call.
    """

    name: str
    kind: Literal["sequential", "in flight", "payload", "stream"]
    pinned: bool
    size: int = 64
    method: str = "call"


WORKLOADS = {
    "sequential": Workload("sequential 64 B", "sequential", pinned=True),
    "in flight": Workload("pipelined 64", "in flight", pinned=True),
    "coroutine": Workload("pipelined 64 coroutine", "in flight", pinned=True, method="coroutine"),
    "free": Workload("sequential 64 B free", "sequential", pinned=False),
    "64 KiB": Workload("echo 64 KiB", "payload", pinned=False, size=64 * 1024),
    "1 MiB": Workload("echo 1 MiB", "payload", pinned=False, size=1024 * 1024),
    "stream": Workload("stream", "stream", pinned=False, size=CHUNK),
}
"""In the order in which a client does them."""

ECHO = ("sequential", "free", "64 KiB", "1 MiB")


@dataclass(frozen=True, slots=True)
class Peer:
    """One library, used in one way.

    Attributes:
        name: as in the report.
        module: of this package.
        role: what it is to the report.
        loops: the event loops that it is measured on.
        distributions: what it needs of the lock file; none: it runs with what this repository needs.
        programs: executables that it needs.
        channel: what carries its bytes.
        workloads: keys of :data:`WORKLOADS`; what is not here the library does not offer.
        usage: how it is used, and on whose advice.
    """

    name: str
    module: str
    loops: tuple[Loop, ...]
    usage: str
    role: Role = "peer"
    distributions: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    channel: str = "unix socket"
    workloads: tuple[str, ...] = (*ECHO, "in flight")


@dataclass(frozen=True, slots=True)
class Subject:
    """A peer on one of its loops: what a round measures."""

    peer: Peer
    loop: Loop

    @property
    def name(self) -> str:
        """The first part of its metrics' names."""
        return f"{self.peer.name} uvloop" if self.loop == "uvloop" else self.peer.name


def windowed(submit: Callable[[], Any], collect: Callable[[Any], Any], seconds: float, width: int) -> int:
    """Keep ``width`` calls of a blocking library in flight for some seconds; the number of calls."""
    deadline = time.perf_counter() + seconds
    pending = deque(submit() for _ in range(width))
    count = 0
    while pending:
        collect(pending.popleft())
        count += 1
        if time.perf_counter() < deadline:
            pending.append(submit())
    return count
