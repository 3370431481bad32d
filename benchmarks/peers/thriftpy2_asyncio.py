"""thriftpy2's asyncio server and client. A connection carries one call at a time, so calls in flight have one each."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import thriftpy2
from thriftpy2.contrib.aio.rpc import make_client, make_server

from benchmarks.peers.peer import Ready

__all__ = ["connect", "serve"]

DEFINITION = thriftpy2.load(str(Path(__file__).with_name("echo.thrift")), module_name="echo_thrift")


class Echo:
    async def echo(self, payload: bytes) -> bytes:
        return payload


async def serve(address: str, ready: Ready) -> None:
    server = make_server(DEFINITION.Echo, Echo(), unix_socket=address, loop=asyncio.get_running_loop())
    server.trans.client_timeout = None  # it would close every connection 3 s after it was made
    server.trans.listen()  # as its init_server() does, which wants a loop that does not run yet
    listening = await server.trans.accept(server.handle)
    ready()
    await listening.serve_forever()


class Client:
    def __init__(self, address: str) -> None:
        self.address = address
        self.idle: list[Any] = []

    async def call(self, payload: bytes) -> Any:
        connection = self.idle.pop() if self.idle else await make_client(DEFINITION.Echo, unix_socket=self.address)
        result = await connection.echo(payload)
        self.idle.append(connection)
        return result

    async def close(self) -> None:
        for connection in self.idle:
            connection.close()


async def connect(address: str) -> Client:
    return Client(address)
