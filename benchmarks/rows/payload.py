"""Large echoes, one at a time, each end on a CPU of its own if there are two."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.rows.lane import Lane, lanes
from benchmarks.rows.sequential import BLOCKING, blocking_connection, echo_call
from benchmarks.rows.setting import Setting, unpinned
from benchmarks.rows.timing import percentile, sample, sample_blocking

__all__ = ["measure"]

SIZES = {"64 KiB": (64 * 1024, 120), "1 MiB": (1024 * 1024, 15)}
"""Bytes of a payload, and how many echoes of it make a pass."""

PASSES = 3


def measure(setting: Setting) -> dict[str, float]:
    """``{ours, bare echo}[ uvloop]/echo {64 KiB,1 MiB}/MB_per_s``, and multiprocessing.connection's.

    A megabyte is 10^6 bytes of payload, counted once though it goes both ways; the time is half of the echoes' (p50).
    """
    get = setting.servers.get
    wanted = [
        (subject, loop, get(subject, loop, None).path) for loop in setting.loops for subject in ("bare echo", "ours")
    ]
    times: dict[tuple[str, str], list[int]] = {}
    with (
        unpinned(),
        lanes(wanted) as opened,
        blocking_connection(get(BLOCKING, "asyncio", None).path) as connection,
    ):

        def echo(payload: bytes) -> None:
            connection.send(payload)
            connection.recv()

        for workload, (size, count) in SIZES.items():
            payload = bytes(size)
            subjects: dict[str, Callable[[int], list[int]]] = {
                BLOCKING: partial(sample_blocking, partial(echo, payload))
            }
            subjects |= {lane.name: partial(run, lane, payload) for lane in opened}
            for call in subjects.values():
                call(setting.count(count // 3))
            for number in range(PASSES):
                for name in setting.rotated(list(subjects), number):
                    times.setdefault((name, workload), []).extend(subjects[name](setting.count(count)))
    return {
        f"{name}/echo {workload}/MB_per_s": SIZES[workload][0] / percentile(each, 0.5) * 1e3
        for (name, workload), each in times.items()
    }


def run(lane: Lane[Any], payload: bytes, count: int) -> list[int]:
    """Echo a payload in a lane."""
    return lane.run(sample(echo_call(lane, payload), count))
