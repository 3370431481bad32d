"""The limit of a stream: bytes through a socket with asyncio, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from benchmarks.limits import ECHO_CLIENT, Buffered, BufferedEchoClient, PlainEchoClient
from benchmarks.peers.peer import CHUNK, Ready
from benchmarks.peers.running import running_loop

__all__ = ["connect", "serve"]

TOTAL_BYTES = 8


class Source(Buffered):
    """Sends as many bytes as it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        self.paused = False
        self.chunk = bytes(CHUNK)

    def buffer_updated(self, nbytes: int) -> None:
        assert nbytes == TOTAL_BYTES
        self.left = int.from_bytes(self.view[:nbytes], "big")
        self.send()

    def send(self) -> None:
        while self.left and not self.paused:
            self.left -= CHUNK
            self.transport.write(self.chunk)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.send()


async def serve(address: str, ready: Ready) -> None:
    server = await asyncio.get_running_loop().create_unix_server(Source, address)
    ready()
    await server.serve_forever()


class Client:
    def __init__(self, protocol: BufferedEchoClient | PlainEchoClient) -> None:
        self.protocol = protocol

    async def stream(self, total: int) -> int:
        protocol = self.protocol
        protocol.waiter = asyncio.get_running_loop().create_future()
        protocol.wanted = total
        protocol.transport.write(total.to_bytes(TOTAL_BYTES, "big"))
        await protocol.waiter
        return total - protocol.wanted

    async def close(self) -> None:
        self.protocol.transport.close()


async def connect(address: str) -> Client:
    factory: Callable[[], BufferedEchoClient | PlainEchoClient] = ECHO_CLIENT[running_loop()]
    _, protocol = await asyncio.get_running_loop().create_unix_connection(factory, address)
    return Client(protocol)
