"""Both ends of the bare echo: asyncio and a buffered protocol, and no protocol of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from benchmarks.limits import ECHO, ECHO_CLIENT, Buffered, BufferedEchoClient, PlainEchoClient

CHUNK = 256 * 1024


class BareSource(Buffered):
    """The server's end of a raw stream: four bytes ask for so many chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        self.paused = False
        self.chunk = bytes(CHUNK)

    def buffer_updated(self, nbytes: int) -> None:
        self.left += int.from_bytes(self.view[:nbytes], "big")
        self.pump()

    def pump(self) -> None:
        while self.left and not self.paused:
            self.left -= 1
            self.transport.write(self.chunk)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.pump()


def loop_name() -> str:
    """The running event loop, as ``limits`` calls it."""
    return "uvloop" if type(asyncio.get_running_loop()).__module__.startswith("uvloop") else "asyncio"


def served(workload: str) -> type[asyncio.BaseProtocol]:
    """What answers a workload."""
    return BareSource if workload.startswith("stream") else ECHO[loop_name()]


async def serve(path: str, workload: str, ready: Callable[[], Awaitable[None]]) -> None:
    """Listen until ``ready`` returns."""
    server = await asyncio.get_running_loop().create_unix_server(served(workload), path)
    await ready()
    server.close()


async def connected(path: str) -> BufferedEchoClient | PlainEchoClient:
    client = ECHO_CLIENT[loop_name()]()
    await asyncio.get_running_loop().create_unix_connection(lambda: client, path)
    return client


async def echoes(path: str, count: int, data: bytes) -> None:
    client = await connected(path)
    for _ in range(count):
        await client.echo(data)
    client.transport.close()


async def stream(path: str, count: int) -> None:
    client = await connected(path)
    client.waiter = asyncio.get_running_loop().create_future()
    client.wanted = count * CHUNK
    client.transport.write(count.to_bytes(4, "big"))
    await client.waiter
    client.transport.close()


async def connections(path: str, count: int) -> None:
    for _ in range(count):
        client = await connected(path)
        await client.echo(bytes(64))
        await client.echo(bytes(64))
        client.transport.close()


async def run(path: str, workload: str, count: int) -> None:
    """The client's end of a workload."""
    match workload:
        case "sequential 64 B":
            await echoes(path, count, bytes(64))
        case "echo 64 KiB":
            await echoes(path, count, bytes(64 * 1024))
        case "stream of 256 KiB chunks":
            await stream(path, count)
        case "connect and two echoes":
            await connections(path, count)
        case _:
            raise ValueError(workload)
