"""asyncssh: an encrypted session channel that echoes; calls share it, and its answers come in order."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import asyncssh

from benchmarks.peers.peer import CHUNK, Ready

__all__ = ["connect", "serve"]


class Server(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


async def handle(process: Any) -> None:
    if process.command:
        chunk = bytes(CHUNK)
        for _ in range(int(process.command) // CHUNK):
            process.stdout.write(chunk)
            await process.stdout.drain()
    else:
        while data := await process.stdin.read(CHUNK):
            process.stdout.write(data)
            await process.stdout.drain()
    process.exit(0)


async def serve(address: str, ready: Ready) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    server = await asyncssh.listen(
        sock=listener,
        server_factory=Server,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=handle,
        encoding=None,
    )
    ready()
    await server.wait_closed()


class Client:
    def __init__(self, connection: Any, process: Any) -> None:
        self.connection = connection
        self.process = process
        self.turn = asyncio.Lock()

    async def call(self, payload: bytes) -> Any:
        self.process.stdin.write(payload)
        async with self.turn:  # the channel echoes in order, and a lock wakes in order
            return await self.process.stdout.readexactly(len(payload))

    async def stream(self, total: int) -> int:
        process = await self.connection.create_process(str(total), encoding=None)
        received = 0
        while data := await process.stdout.read(CHUNK):
            received += len(data)
        return received

    async def close(self) -> None:
        self.connection.abort()


async def connect(address: str) -> Client:
    client = socket.socket(socket.AF_UNIX)
    client.connect(address)
    client.setblocking(False)
    connection = await asyncssh.connect(sock=client, known_hosts=None, username="peer", config=None, client_keys=None)
    return Client(connection, await connection.create_process(encoding=None))
