"""What typing costs: calls of a service through its stub, beside calls by name of bare handlers that do the same."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.rows.lane import Lane, lanes
from benchmarks.rows.records import ARGUMENTS, RecordStore
from benchmarks.rows.setting import CPU, Setting, pinned
from benchmarks.rows.timing import Call, percentile, sample
from virtagent.service.stub import stub

__all__ = ["measure"]

PASSES, COUNT, WARM_UP = 5, 400, 100


def measure(setting: Setting) -> dict[str, float]:
    """``ours[ uvloop]/{typed call, untyped call}[ coroutine]/p50_us``: inline handlers, and coroutines.

    Sequential, both ends on one CPU. Arguments are validated in the typed method's server, its result in the client.
    """
    wanted = [("ours", loop, setting.servers.get("ours", loop, CPU).path) for loop in setting.loops]
    times: dict[str, list[int]] = {}
    with pinned(), lanes(wanted) as opened:
        works = [(lane, workload, call) for lane in opened for workload, call in calls(lane).items()]
        for lane, _, call in works:
            lane.run(sample(call, setting.count(WARM_UP)))
        for number in range(PASSES):
            for lane, workload, call in setting.rotated(works, number):
                found = lane.run(sample(call, setting.count(COUNT)))
                times.setdefault(f"{lane.name}/{workload}/p50_us", []).extend(found)
    return {name: percentile(each, 0.5) / 1e3 for name, each in times.items()}


def calls(lane: Lane[Any]) -> dict[str, Call]:
    """The four calls that are compared."""
    peer = lane.client
    typed = stub(RecordStore, peer)
    return {
        "untyped call": partial(peer.call, "plain.store_inline", **ARGUMENTS),
        "typed call": partial(typed.store_inline, **ARGUMENTS),
        "untyped call coroutine": partial(peer.call, "plain.store", **ARGUMENTS),
        "typed call coroutine": partial(typed.store, **ARGUMENTS),
    }
