"""Both ends of the prototype: the shape of a fast RPC without its features (``benchmarks/prototype.py``)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from benchmarks.counted.in_flight import WIDTH, in_flight, payload
from benchmarks.prototype import Prototype


async def serve(path: str, workload: str, ready: Callable[[], Awaitable[None]]) -> None:
    """Listen until ``ready`` returns."""
    handlers = {"echo": lambda params: params, "note": lambda params: None}
    server = await asyncio.get_running_loop().create_unix_server(lambda: Prototype(handlers), path)
    await ready()
    server.close()


async def run(path: str, workload: str, count: int) -> None:
    """The client's end of a workload."""
    _, client = await asyncio.get_running_loop().create_unix_connection(lambda: Prototype({}), path)
    params = payload()
    match workload:
        case "sequential 64 B":
            for _ in range(count):
                await client.call("echo", params)
        case "64 in flight":
            await in_flight(lambda: client.call("echo", params), count)
        case "notification":
            for _ in range(count // WIDTH):
                for _ in range(WIDTH):
                    client.notify("note", params)
                await client.call("echo", params)
        case _:
            raise ValueError(workload)
    client.transport.close()
