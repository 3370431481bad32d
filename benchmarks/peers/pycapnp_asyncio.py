"""pycapnp on asyncio."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import capnp

from benchmarks.peers.peer import CHUNK, Ready

__all__ = ["connect", "run", "serve"]

STANDARD_SCHEMAS = str(Path(capnp.__file__).parent.parent)
SCHEMA = capnp.load(str(Path(__file__).with_name("echo.capnp")), imports=[STANDARD_SCHEMAS])
run = capnp.run


class Echo(SCHEMA.Echo.Server):  # type: ignore[name-defined]
    def __init__(self) -> None:
        self.total = 0

    async def echo(self, payload: bytes, **_: Any) -> bytes:
        return payload

    async def write(self, chunk: bytes, **_: Any) -> None:
        self.total += len(chunk)

    async def written(self, **_: Any) -> int:
        total, self.total = self.total, 0
        return total


async def answer(stream: Any) -> None:
    await capnp.TwoPartyServer(stream, bootstrap=Echo()).on_disconnect()


async def serve(address: str, ready: Ready) -> None:
    server = await capnp.AsyncIoStream.create_unix_server(answer, address)
    ready()
    async with server:
        await server.serve_forever()


class Client:
    def __init__(self, connection: Any) -> None:
        self.client = capnp.TwoPartyClient(connection)
        self.echo = self.client.bootstrap().cast_as(SCHEMA.Echo)

    async def call(self, payload: bytes) -> Any:
        return (await self.echo.echo(payload)).payload

    async def stream(self, total: int) -> int:
        chunk = bytes(CHUNK)
        for _ in range(total // CHUNK):
            await self.echo.write(chunk)
        received: int = (await self.echo.written()).total
        return received

    async def close(self) -> None:
        self.client.close()
        await asyncio.sleep(0)


async def connect(address: str) -> Client:
    return Client(await capnp.AsyncIoStream.create_unix_connection(address))
