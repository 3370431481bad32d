"""A thousand notifications in one turn of the loop, both ends on one CPU: ours and the prototype."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median
from typing import Any

from benchmarks.rows.lane import Lane, lanes
from benchmarks.rows.setting import CPU, Setting, pinned

__all__ = ["measure"]

WORKLOAD = "notifications 1000"
AT_ONCE = 1000
PASSES, TURNS, WARM_UP = 8, 3, 3


def measure(setting: Setting) -> dict[str, float]:
    """``{ours, prototype}[ uvloop]/notifications 1000/messages_per_s``.

    From the first notification's sending until a call sent behind them has told that all were handled.

    Raises:
        RuntimeError: some were lost.
    """
    get = setting.servers.get
    wanted = [
        (subject, loop, get(subject, loop, CPU).path) for loop in setting.loops for subject in ("ours", "prototype")
    ]
    rates: dict[str, list[float]] = {}
    with pinned(), lanes(wanted) as opened:
        for lane in opened:
            turns(lane, setting.count(WARM_UP))
        for number in range(PASSES):
            for lane in setting.rotated(opened, number):
                rates.setdefault(f"{lane.name}/{WORKLOAD}/messages_per_s", []).append(turns(lane, setting.count(TURNS)))
    return {name: median(each) for name, each in rates.items()}


def turns(lane: Lane[Any], count: int) -> float:
    """Messages per second over some turns."""
    client = lane.client
    if lane.subject == "ours":
        notify, added = partial(client.notify, "add", number=1), partial(client.call, "added")
    else:
        notify, added = partial(client.notify, "add", {"number": 1}), partial(client.call, "added", {})
    return lane.run(send(lane.name, notify, added, count))


async def send(name: str, notify: Callable[[], None], added: Callable[[], Awaitable[int]], count: int) -> float:
    """Send notifications, and wait until they have been handled."""
    before = await added()
    start = time.perf_counter()
    for _ in range(count):
        for _ in range(AT_ONCE):
            notify()
        total = await added()
    elapsed = time.perf_counter() - start
    if total - before != count * AT_ONCE:
        raise RuntimeError(f"{name}: {total - before} of {count * AT_ONCE} notifications were handled")
    return count * AT_ONCE / elapsed
