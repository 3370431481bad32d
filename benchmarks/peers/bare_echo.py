"""The limit of one message at a time: a bare protocol that sends back what it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from benchmarks.limits import ECHO, ECHO_CLIENT, EchoClient
from benchmarks.peers.peer import Ready
from benchmarks.peers.running import running_loop

__all__ = ["connect", "serve"]


async def serve(address: str, ready: Ready) -> None:
    server = await asyncio.get_running_loop().create_unix_server(ECHO[running_loop()], address)
    ready()
    await server.serve_forever()


class Client:
    def __init__(self, protocol: EchoClient) -> None:
        self.protocol = protocol
        self.call = protocol.echo

    async def close(self) -> None:
        self.protocol.transport.close()


async def connect(address: str) -> Client:
    factory: Callable[[], EchoClient] = ECHO_CLIENT[running_loop()]
    _, protocol = await asyncio.get_running_loop().create_unix_connection(factory, address)
    return Client(protocol)
