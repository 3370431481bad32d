"""Calls one after the other, both ends on one CPU: ours, the bare echo, the prototype, and a blocking connection."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Client, Connection
from typing import Any

from benchmarks.rows.lane import Lane, lanes
from benchmarks.rows.setting import CPU, Setting, pinned
from benchmarks.rows.timing import Call, latency, sample, sample_blocking

__all__ = ["BLOCKING", "PAYLOAD", "blocking_connection", "echo_call", "measure"]

WORKLOAD = "sequential 64 B"
PAYLOAD = b"x" * 64
PASSES, COUNT, WARM_UP = 8, 400, 200
BLOCKING = "multiprocessing.connection"


def measure(setting: Setting) -> dict[str, float]:
    """Half and 99th percentile of the round-trip time of a 64-byte echo, in microseconds.

    ``{ours, bare echo, prototype}[ uvloop]/sequential 64 B/{p50_us,p99_us}``, and multiprocessing.connection's.
    """
    times: dict[str, list[list[int]]] = {}
    with pinned(), connected(setting) as subjects:
        for call in subjects.values():
            call(setting.count(WARM_UP))
        for number in range(PASSES):
            for name in setting.rotated(list(subjects), number):
                times.setdefault(name, []).append(subjects[name](setting.count(COUNT)))
    return {key: value for name, each in times.items() for key, value in latency(name, WORKLOAD, each).items()}


@contextlib.contextmanager
def connected(setting: Setting) -> Iterator[dict[str, Callable[[int], list[int]]]]:
    """By subject, what makes a number of calls and tells their times."""
    get = setting.servers.get
    wanted = [
        (subject, loop, get(subject, loop, CPU).path)
        for loop in setting.loops
        for subject in ("bare echo", "ours", "prototype")
    ]
    with lanes(wanted) as opened, blocking_connection(get(BLOCKING, "asyncio", CPU).path) as connection:

        def echo() -> None:
            connection.send(PAYLOAD)
            connection.recv()

        subjects = {lane.name: partial(run, lane) for lane in opened}
        yield {**subjects, BLOCKING: partial(sample_blocking, echo)}


def run(lane: Lane[Any], count: int) -> list[int]:
    """Make calls in a lane."""
    return lane.run(sample(echo_call(lane), count))


def echo_call(lane: Lane[Any], payload: bytes = PAYLOAD) -> Call:
    """The call of a lane's client that has a payload sent back."""
    if lane.subject == "ours":
        return partial(lane.client.call, "echo", data=payload)
    if lane.subject == "prototype":
        return partial(lane.client.call, "echo", {"data": payload})
    return partial(lane.client.echo, payload)


@contextlib.contextmanager
def blocking_connection(path: str) -> Iterator[Connection]:
    """A connection to the blocking server."""
    with Client(path, "AF_UNIX") as connection:
        yield connection
