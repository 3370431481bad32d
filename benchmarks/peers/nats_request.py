"""NATS request and reply, through a ``nats-server`` of our own on loopback."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from typing import Any

import nats

from benchmarks.peers.peer import CHUNK, Ready

__all__ = ["connect", "serve"]

WINDOW = 4 * 1024 * 1024
"""Bytes of the stream that are asked for at a time: what core NATS cannot deliver it drops."""

START_TIMEOUT = 10.0


def start_broker() -> tuple[int, str]:
    """Start a broker; its process id and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        ["nats-server", "--addr", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("nats-server did not start") from None
            time.sleep(0.002)
        else:
            return process.pid, f"nats://127.0.0.1:{port}"


async def serve(address: str, ready: Ready) -> None:
    broker, url = await asyncio.to_thread(start_broker)
    client = await nats.connect(url)
    chunk = bytes(CHUNK)

    async def echo(message: Any) -> None:
        await message.respond(message.data)

    async def chunks(message: Any) -> None:
        for _ in range(int(message.data) // CHUNK):
            await client.publish(message.reply, chunk)

    await client.subscribe("echo", cb=echo)
    await client.subscribe("chunks", cb=chunks)
    await client.flush()
    ready(address=url, brokers=(broker,))
    await asyncio.Event().wait()


class Client:
    def __init__(self, client: Any) -> None:
        self.client = client

    async def call(self, payload: bytes) -> Any:
        return (await self.client.request("echo", payload, timeout=30)).data

    async def stream(self, total: int) -> int:
        inbox = self.client.new_inbox()
        subscription = await self.client.subscribe(inbox)
        asked = received = 0
        while received < total:
            while asked < total and asked - received <= WINDOW:  # one window is on its way while another is read
                asked += WINDOW
                await self.client.publish("chunks", str(WINDOW).encode(), reply=inbox)
            received += len((await subscription.next_msg(timeout=30)).data)
        await subscription.unsubscribe()
        return received

    async def close(self) -> None:
        await self.client.close()


async def connect(address: str) -> Client:
    return Client(await nats.connect(address))
