"""What is possible here with the least that makes a remote call: the shape of the first prototype, without features.

A buffered protocol, a binary header (length, kind, id), msgpack, synchronous handlers called in the read path, a future
for each call, and one write per turn of the loop for all that is queued. No limits, deadlines, cancellation, sessions,
streams, errors or checks. On uvloop a plain protocol was tried, too, and is no quicker in this shape.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

from msgpack import Packer, unpackb

from benchmarks.limits import BUFFER, Buffered

HEADER = struct.Struct(">IBI")
HEADER_SIZE = HEADER.size
pack_header, unpack_header = HEADER.pack, HEADER.unpack_from  # bound once: an attribute less for each message
REQUEST, RESPONSE, NOTIFICATION = range(3)


class Prototype(Buffered):
    """Both ends of it.

    Args:
        handlers: by name; each takes the arguments by name and gives the result.
    """

    def __init__(self, handlers: dict[str, Callable[[Any], Any]]) -> None:
        super().__init__()
        self.buffer = bytearray(BUFFER)  # of its own: the beginning of a message stays in it until the rest has come
        self.view = memoryview(self.buffer)
        self.filled = 0
        self.handlers = handlers
        self.pending: dict[int, asyncio.Future[Any]] = {}
        self.next = 1
        self.out: list[bytes] = []
        self.flushing = False
        self.loop = asyncio.get_running_loop()
        self.pack = Packer().pack

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view[self.filled :]

    def buffer_updated(self, nbytes: int) -> None:
        end = self.filled + nbytes
        start = 0
        buffer, view, out = self.buffer, self.view, self.out
        while end - start >= HEADER_SIZE:
            length, kind, identifier = unpack_header(buffer, start)
            body = start + HEADER_SIZE
            if end - body < length:
                self.make_room(HEADER_SIZE + length)
                break
            start = body + length
            message = unpackb(view[body:start])
            if kind == RESPONSE:
                self.pending.pop(identifier).set_result(message)
                continue
            result = self.handlers[message[0]](message[1])
            if kind == REQUEST:
                data = self.pack(result)
                out.append(pack_header(len(data), RESPONSE, identifier) + data)
        rest = end - start
        if rest and start:
            self.buffer[:rest] = buffer[start:end]
        self.filled = rest
        if out:
            self.flush()
        elif self.pending and not self.flushing:
            # After the tasks that were woken, in the same turn: what they send next goes out in one write.
            self.flushing = True
            self.loop.call_soon(self.flush)

    def make_room(self, size: int) -> None:
        """A message that does not fit makes the buffer larger, once."""
        if size > len(self.buffer):
            self.buffer = self.buffer + bytes(size + BUFFER - len(self.buffer))
            self.view = memoryview(self.buffer)

    def flush(self) -> None:
        self.flushing = False
        out = self.out
        if out:
            self.out = []
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))

    def call(self, method: str, params: Any) -> asyncio.Future[Any]:
        """Call a method; the future has its result."""
        identifier = self.next
        self.next = identifier + 1
        data = self.pack((method, params))
        frame = pack_header(len(data), REQUEST, identifier) + data
        alone = not self.pending and not self.out
        future = self.pending[identifier] = self.loop.create_future()
        if alone:
            self.transport.write(frame)
        else:
            self.queue(frame)
        return future

    def notify(self, method: str, params: Any) -> None:
        """Send a notification, in one write with whatever else this turn sends."""
        data = self.pack((method, params))
        self.queue(pack_header(len(data), NOTIFICATION, 0) + data)

    def queue(self, frame: bytes) -> None:
        self.out.append(frame)
        if not self.flushing:
            self.flushing = True
            self.loop.call_soon(self.flush)
