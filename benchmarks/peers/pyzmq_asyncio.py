"""pyzmq's asyncio sockets: DEALER and ROUTER for calls, PUSH and PULL for the stream."""

from __future__ import annotations

import asyncio

import zmq
import zmq.asyncio

from benchmarks.peers.peer import CHUNK, Ready

__all__ = ["connect", "serve"]

CHUNKS_WAITING = 16
"""High-water mark of the stream, messages: the library's 1,000 would be 256 MiB of chunks."""


async def serve(address: str, ready: Ready) -> None:
    context = zmq.asyncio.Context()
    router, push = context.socket(zmq.ROUTER), context.socket(zmq.PUSH)
    push.setsockopt(zmq.SNDHWM, CHUNKS_WAITING)
    router.bind(f"ipc://{address}")
    push.bind(f"ipc://{address}.stream")
    streams = set()
    ready()
    while True:
        client, *message = await router.recv_multipart()
        if len(message) == 1:
            await router.send_multipart([client, *message])
        else:
            streams.add(asyncio.create_task(send(push, int(message[1]))))


async def send(push: zmq.asyncio.Socket, total: int) -> None:
    chunk = bytes(CHUNK)
    for _ in range(total // CHUNK):
        await push.send(chunk)


class Client:
    def __init__(self, address: str) -> None:
        self.context = zmq.asyncio.Context()
        self.dealer, self.pull = self.context.socket(zmq.DEALER), self.context.socket(zmq.PULL)
        self.pull.setsockopt(zmq.RCVHWM, CHUNKS_WAITING)
        self.dealer.connect(f"ipc://{address}")
        self.pull.connect(f"ipc://{address}.stream")
        self.turn = asyncio.Lock()

    async def call(self, payload: bytes) -> bytes:
        await self.dealer.send(payload)
        async with self.turn:  # one server answers in order, and a lock wakes in order: no identifiers are needed
            answer: bytes = await self.dealer.recv()
            return answer

    async def stream(self, total: int) -> int:
        await self.dealer.send_multipart([b"stream", str(total).encode()])
        received = 0
        while received < total:
            received += len(await self.pull.recv())
        return received

    async def close(self) -> None:
        self.context.destroy(linger=0)


async def connect(address: str) -> Client:
    return Client(address)
