"""What is counted: each workload prepares so many of something, and gives the action that is to be counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.growth.core_pair import CorePair, Opening
from benchmarks.growth.limits import LIMITS
from virtagent.protocol.rpc import Request
from virtagent.protocol.streams import SENDS

__all__ = ["WORKLOADS", "Action", "Workload"]

Action = Callable[[], None]
Workload = Callable[[int], Action]

A_FEW = 32
"""How many are used where others only lie open."""

APART = 0.01
"""Seconds between two deadlines."""


def answered_calls(count: int) -> Action:
    """Calls that are all open at once, and then all answered."""
    pair = CorePair()

    def act() -> None:
        for _ in range(count):
            pair.left.call("echo", {"data": b"x"}, pair.now)
        pair.carry()
        requests = pair.told(Request)
        for request in requests:
            pair.right.respond(request, request.params)
        pair.carry()
        assert len(requests) == count
        assert not pair.left.calls.calls

    return act


def calls_beside_open_ones(count: int) -> Action:
    """A few calls, one after the other, while many others are open."""
    pair = CorePair()
    for _ in range(count):
        pair.left.call("hold", None, pair.now)
    pair.carry()
    pair.told(Request)

    def act() -> None:
        for _ in range(A_FEW):
            pair.left.call("echo", {"data": b"x"}, pair.now)
            pair.carry()
            for request in pair.told(Request):
                pair.right.respond(request, request.params)
            pair.carry()

    return act


def cancelled_calls(count: int) -> Action:
    """Calls that are cancelled: half of them before they leave, half of them after."""
    pair = CorePair()

    def act() -> None:
        sent = [pair.left.call("hold", None, pair.now) for _ in range(count // 2)]
        pair.carry()
        waiting = [pair.left.call("hold", None, pair.now) for _ in range(count - count // 2)]
        for call in (*sent, *waiting):
            pair.left.cancel(call)
        pair.carry()
        for request in pair.told(Request):
            pair.right.respond(request, None)
        pair.carry()
        assert not pair.right.calls.requests

    return act


def passing_deadlines(count: int) -> Action:
    """Calls whose deadlines pass one after the other."""
    pair = CorePair()
    for number in range(count):
        pair.left.call("hold", None, pair.now, pair.now + 1 + number * APART)
    pair.carry()
    pair.told(Request)

    def act() -> None:
        pair.advance(1 + (count + 1) * APART)
        assert not pair.left.calls.calls

    return act


def default_deadlines(count: int) -> Action:
    """Calls with the default deadline, made one after the other, that nobody answers."""
    pair = CorePair()
    for _ in range(count):
        pair.left.call("hold", None, pair.now)
        pair.now += APART
        pair.carry()
    pair.told(Request)

    def act() -> None:
        pair.advance(120.0)
        assert not pair.left.calls.calls

    return act


def streams(count: int) -> Action:
    """Streams that all open, carry something both ways, and end."""
    pair = CorePair()

    def act() -> None:
        openings = [Opening() for _ in range(count)]
        for opening in openings:
            pair.left.call("open", {"stream": opening}, pair.now)
        pair.carry()
        for request in pair.told(Request):
            (stream,) = request.streams
            stream.send(b"\x01")
            stream.end()
            pair.right.respond(request, None)
        pair.carry()
        for opening in openings:
            opening.stream.send(b"\x02")
            opening.stream.end()
        pair.carry()
        assert pair.left.streams is not None
        assert pair.right.streams is not None
        assert len(pair.left.streams) == len(pair.right.streams) == 0

    return act


def stream_beside_open_ones(count: int) -> Action:
    """One item at a time on one stream, while many others are open."""
    pair = CorePair()
    openings = [Opening() for _ in range(count)]
    for opening in openings:
        pair.left.call("open", {"stream": opening}, pair.now)
    pair.carry()
    pair.told(Request)
    stream = openings[count // 2].stream

    def act() -> None:
        for _ in range(A_FEW):
            stream.send(b"\x01")
            pair.carry()

    return act


def reset_streams(count: int) -> Action:
    """Streams that are all reset in one turn."""
    pair = CorePair()
    openings = [Opening() for _ in range(count)]
    for opening in openings:
        pair.left.call("open", {"stream": opening}, pair.now)
    pair.carry()
    pair.told(Request)

    def act() -> None:
        for opening in openings:
            opening.stream.reset([1, "no longer wanted", None])
        pair.carry()
        assert pair.right.up
        assert pair.right.streams is not None
        assert len(pair.right.streams) == 0

    return act


def notifications(count: int) -> Action:
    """Notifications in one turn."""
    pair = CorePair()

    def act() -> None:
        for number in range(count):
            pair.left.notify("note", {"number": number})
        pair.carry()

    return act


def long_message(size: int) -> Action:
    """One call with a payload of so many bytes, answered with the same."""
    pair = CorePair()
    payload = bytes(size)

    def act() -> None:
        pair.left.call("echo", {"data": payload}, pair.now)
        pair.carry()
        for request in pair.told(Request):
            pair.right.respond(request, request.params)
        pair.carry()
        assert not pair.left.calls.calls

    return act


def long_stream(size: int) -> Action:
    """So many bytes in one stream, read as they come."""
    pair = CorePair()
    opening = Opening(SENDS)
    pair.left.call("open", {"stream": opening}, pair.now)
    pair.carry()
    (request,) = pair.told(Request)
    (reader,) = request.streams
    payload = bytes(size)

    def act() -> None:
        opening.stream.send(payload)
        opening.stream.end()
        pair.carry()
        assert reader.taken == size

    return act


def drained_handlers(count: int) -> Action:
    """Handlers that end one after the other while their peer is being closed and waits for them."""
    # Only here: under callgrind the imports take longer than all the rest.
    import asyncio

    from virtagent.peer.handler import Handler
    from virtagent.peer.options import PeerOptions
    from virtagent.testing import VirtualTimeLoop, peer_pair

    async def drain() -> None:
        async def hold(_: object, params: Any) -> None:
            await asyncio.sleep(params["seconds"])

        options = PeerOptions(limits=LIMITS, drain=3600.0)
        async with peer_pair(handlers_b=[Handler("hold", "task", hold)], options=options) as (near, far):
            calls = [asyncio.ensure_future(near.call("hold", seconds=1 + i * APART)) for i in range(count)]
            await asyncio.sleep(0.5)
            await far.aclose()
            await asyncio.gather(*calls)

    def act() -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(drain())

    return act


WORKLOADS: dict[str, Workload] = {
    each.__name__: each
    for each in (
        answered_calls,
        calls_beside_open_ones,
        cancelled_calls,
        passing_deadlines,
        default_deadlines,
        streams,
        stream_beside_open_ones,
        reset_streams,
        notifications,
        long_message,
        long_stream,
        drained_handlers,
    )
}
