"""grpc.aio with generic handlers: raw bytes, so no generated code and no protobuf on either side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from benchmarks.peers.peer import CHUNK, Ready

__all__ = ["connect", "serve"]


async def echo(request: bytes, _: Any) -> bytes:
    return request


async def chunks(request: bytes, _: Any) -> AsyncIterator[bytes]:
    chunk = bytes(CHUNK)
    for _number in range(int(request) // CHUNK):
        yield chunk


async def serve(address: str, ready: Ready) -> None:
    server = grpc.aio.server()
    methods = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Chunks": grpc.unary_stream_rpc_method_handler(chunks),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("peers.Echo", methods),))
    server.add_insecure_port(f"unix:{address}")
    await server.start()
    ready()
    await server.wait_for_termination()


class Client:
    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(f"unix:{address}")
        self.echo = self.channel.unary_unary("/peers.Echo/Echo")
        self.chunks = self.channel.unary_stream("/peers.Echo/Chunks")

    async def call(self, payload: bytes) -> Any:
        return await self.echo(payload)

    async def stream(self, total: int) -> int:
        received = 0
        async for chunk in self.chunks(str(total).encode()):
            received += len(chunk)
        return received

    async def close(self) -> None:
        await self.channel.close()


async def connect(address: str) -> Client:
    return Client(address)
