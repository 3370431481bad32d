"""The limit of a stream: bytes through a socket with asyncio, and nothing else."""

from __future__ import annotations

import asyncio

from benchmarks.limits import RawCopyClient, Source
from benchmarks.peers.peer import Ready

__all__ = ["connect", "serve"]


async def serve(address: str, ready: Ready) -> None:
    server = await asyncio.get_running_loop().create_unix_server(Source, address)
    ready()
    await server.serve_forever()


class Client:
    def __init__(self, protocol: RawCopyClient) -> None:
        self.protocol = protocol

    async def stream(self, total: int) -> int:
        await self.protocol.receive(total)
        return total - self.protocol.wanted

    async def close(self) -> None:
        self.protocol.transport.close()


async def connect(address: str) -> Client:
    _, protocol = await asyncio.get_running_loop().create_unix_connection(RawCopyClient, address)
    return Client(protocol)
