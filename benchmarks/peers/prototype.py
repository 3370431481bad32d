"""The limit of many calls in flight: the shape of a remote call without features."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.peers.peer import Ready
from benchmarks.prototype import Prototype

__all__ = ["connect", "serve"]

HANDLERS = {"echo": lambda params: params["data"]}


async def serve(address: str, ready: Ready) -> None:
    server = await asyncio.get_running_loop().create_unix_server(lambda: Prototype(HANDLERS), address)
    ready()
    await server.serve_forever()


class Client:
    def __init__(self, protocol: Prototype) -> None:
        self.protocol = protocol

    def call(self, payload: bytes) -> asyncio.Future[Any]:
        return self.protocol.call("echo", {"data": payload})

    async def close(self) -> None:
        self.protocol.transport.close()


async def connect(address: str) -> Client:
    _, protocol = await asyncio.get_running_loop().create_unix_connection(lambda: Prototype({}), address)
    return Client(protocol)
