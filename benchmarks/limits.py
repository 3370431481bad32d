"""What is possible here: a bare asyncio echo, the prototype shape without features, and a raw socket copy."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import msgpack

HEADER = struct.Struct(">I")
SIZE = 256 * 1024


class Buffered(asyncio.BufferedProtocol):
    """A buffered protocol with one reused buffer."""

    def __init__(self) -> None:
        self.buffer = bytearray(SIZE)
        self.view = memoryview(self.buffer)
        self.filled = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view[self.filled :]


class BareEcho(Buffered):
    """Sends back what it gets, and nothing else."""

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(self.view[:nbytes])


class BareClient(Buffered):
    """Waits for as many bytes as it sent."""

    waiter: asyncio.Future[None]
    wanted = 0

    def buffer_updated(self, nbytes: int) -> None:
        self.wanted -= nbytes
        if self.wanted <= 0:
            self.waiter.set_result(None)

    async def echo(self, data: bytes) -> None:
        self.waiter = asyncio.get_running_loop().create_future()
        self.wanted = len(data)
        self.transport.write(data)
        await self.waiter


class Sink(Buffered):
    """Counts what it gets; a zero byte at the end of a megabyte is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def buffer_updated(self, nbytes: int) -> None:
        self.total += nbytes
        if self.total >= 1 << 30:
            self.total -= 1 << 30
            self.transport.write(b"!")


class Prototype(Buffered):
    """The shape of speed.md's prototype: binary header, msgpack, inline handlers, futures, one write per turn."""

    def __init__(self, handlers: dict[str, Callable[[Any], Any]]) -> None:
        super().__init__()
        self.handlers = handlers
        self.pending: dict[int, asyncio.Future[Any]] = {}
        self.next = 1
        self.out: list[bytes] = []
        self.loop = asyncio.get_running_loop()
        self.pack = msgpack.Packer().pack

    def buffer_updated(self, nbytes: int) -> None:
        end = self.filled + nbytes
        start = 0
        buffer, view = self.buffer, self.view
        while end - start >= 4:
            length = HEADER.unpack_from(buffer, start)[0]
            if end - start - 4 < length:
                break
            message = msgpack.unpackb(view[start + 4 : start + 4 + length])
            start += 4 + length
            if message[0] == 0:
                result = self.handlers[message[2]](message[3])
                self.queue([1, message[1], None, result])
            else:
                self.pending.pop(message[1]).set_result(message[3])
        rest = end - start
        if rest and start:
            buffer[:rest] = buffer[start:end]
        self.filled = rest
        self.flush()

    def queue(self, message: Any) -> None:
        data = self.pack(message)
        self.out.append(HEADER.pack(len(data)) + data)

    def flush(self) -> None:
        if self.out:
            out, self.out = self.out, []
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))

    def call(self, method: str, params: Any) -> asyncio.Future[Any]:
        identifier = self.next
        self.next += 1
        future = self.pending[identifier] = self.loop.create_future()
        if not self.out and len(self.pending) > 1:
            self.loop.call_soon(self.flush)
        self.queue([0, identifier, method, params])
        if len(self.pending) == 1:
            self.flush()
        return future
