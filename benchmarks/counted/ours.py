"""Both ends of virtagent, with the defaults that users have; only no keepalive may fall due while we count."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

import virtagent
from benchmarks.counted.in_flight import WIDTH, in_flight, payload
from virtagent.peer.handler import Handler

CHUNK = 256 * 1024

HOUR = 3600.0
"""Seconds: a counted process runs fifty times slower, and a timer that fires in it would be counted by chance."""

TIMEOUT = 120.0
"""Seconds to connect in, for the same reason."""


class Point(msgspec.Struct):
    """A typed argument and result of about 64 bytes on the wire."""

    name: str
    x: int
    y: int


class Typed(virtagent.Service, name="typed"):
    """What a typed call calls."""

    @virtagent.method(inline=True)
    async def echo(self, point: Point, *, scale: int = 1) -> Point:
        return point


async def coroutine_echo(_: object, params: object) -> object:
    return params


async def chunks(count: int) -> AsyncIterator[bytes]:
    chunk = bytes(CHUNK)
    for _ in range(count):
        yield chunk


def stream_of_chunks(_: object, params: Any) -> virtagent.OutgoingStream:
    return virtagent.OutgoingStream(chunks(params["count"]), "bytes")


async def serve(path: str, workload: str, ready: Callable[[], Awaitable[None]]) -> None:
    """Listen until ``ready`` returns."""
    handlers = [
        Handler("echo", "inline", lambda _, params: params),
        Handler("coroutine", "task", coroutine_echo),
        Handler("note", "inline", lambda _, params: None),
        Handler("chunks", "inline", stream_of_chunks),
    ]
    async with virtagent.listen(f"unix:{path}", services=[Typed()], handlers=handlers, keepalive=HOUR):
        await ready()


def connect(path: str) -> Any:
    return virtagent.connect(f"unix:{path}", timeout=TIMEOUT, keepalive=HOUR)


async def typed_calls(peer: Any, count: int) -> None:
    echo = virtagent.stub(Typed, peer).echo
    for _ in range(count):
        await echo(Point("somewhere in the guest", 1, 2), scale=2)


async def notifications(peer: Any, count: int) -> None:
    params = payload()
    for _ in range(count // WIDTH):
        for _ in range(WIDTH):
            peer.notify("note", **params)
        await peer.call("echo", **params)


async def stream(peer: Any, count: int) -> None:
    async with peer.stream("chunks", count=count) as received:
        async for _ in received:
            pass


async def connections(path: str, count: int) -> None:
    params = payload()
    for _ in range(count):
        async with connect(path) as peer:
            await peer.call("echo", **params)


async def run(path: str, workload: str, count: int) -> None:
    """The client's end of a workload."""
    if workload == "connect to first answer":
        await connections(path, count)
        return
    params = payload()
    async with connect(path) as peer:
        match workload:
            case "sequential 64 B":
                for _ in range(count):
                    await peer.call("echo", **params)
            case "64 in flight":
                await in_flight(lambda: peer.call("echo", **params), count)
            case "64 in flight, coroutine handler":
                await in_flight(lambda: peer.call("coroutine", **params), count)
            case "typed call":
                await typed_calls(peer, count)
            case "notification":
                await notifications(peer, count)
            case "echo 64 KiB":
                params = payload(64 * 1024)
                for _ in range(count):
                    await peer.call("echo", **params)
            case "stream of 256 KiB chunks":
                await stream(peer, count)
            case _:
                raise ValueError(workload)
