"""What is possible here: a bare echo, a raw socket copy and a blocking connection, each the quickest of its kind.

asyncio gives its best through a ``BufferedProtocol`` (its ``recv`` allocates 256 KiB for every read of a plain
``Protocol``), uvloop through a plain ``Protocol``: each loop's echo is the one that is quicker on it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from multiprocessing.connection import Listener

BUFFER = 256 * 1024
"""Bytes of a read at most; what asyncio and uvloop read at a time by themselves."""


class Buffered(asyncio.BufferedProtocol):
    """A buffered protocol with one reused buffer, which all connections of a process share: a read is used up at once.

    A buffer for each connection would make connecting slower, whose limit this is, too.
    """

    view = memoryview(bytearray(BUFFER))

    def __init__(self) -> None:
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view


class Plain(asyncio.Protocol):
    """A protocol that is given new bytes for each read."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]


class BufferedEcho(Buffered):
    """Sends back what it gets, and nothing else."""

    def buffer_updated(self, nbytes: int) -> None:
        # A copy: the transport keeps a reference to what it cannot send at once, and this buffer is read into again.
        self.transport.write(bytes(self.view[:nbytes]))


class PlainEcho(Plain):
    """Sends back what it gets, and nothing else."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Echoing:
    """Waits for as many bytes as it sent."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self.waiter: asyncio.Future[None]
        self.wanted = 0

    def echo(self, data: bytes) -> asyncio.Future[None]:
        """Send bytes; the future is done when as many have come back."""
        waiter = self.waiter = self.loop.create_future()
        self.wanted = len(data)
        self.transport.write(data)
        return waiter


class BufferedEchoClient(Echoing, Buffered):
    """The caller's side of :class:`BufferedEcho`."""

    def buffer_updated(self, nbytes: int) -> None:
        self.wanted -= nbytes
        if self.wanted <= 0:
            self.waiter.set_result(None)


class PlainEchoClient(Echoing, Plain):
    """The caller's side of :class:`PlainEcho`."""

    def data_received(self, data: bytes) -> None:
        self.wanted -= len(data)
        if self.wanted <= 0:
            self.waiter.set_result(None)


ECHO: dict[str, type[asyncio.BaseProtocol]] = {"asyncio": BufferedEcho, "uvloop": PlainEcho}
"""The quickest echo, by event loop."""

EchoClient = BufferedEchoClient | PlainEchoClient

ECHO_CLIENT: dict[str, Callable[[], EchoClient]] = {"asyncio": BufferedEchoClient, "uvloop": PlainEchoClient}
"""What makes its caller's side, by event loop."""


class Source(Buffered):
    """Sends as many bytes as it is asked for with 8 bytes, big-endian, as fast as the socket takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.chunk = bytes(BUFFER)
        self.left = 0
        self.paused = False

    def buffer_updated(self, nbytes: int) -> None:
        self.left = int.from_bytes(self.view[:nbytes], "big")
        self.send()

    def send(self) -> None:
        """Write until the transport has enough."""
        while self.left > 0 and not self.paused:
            chunk = self.chunk if self.left >= len(self.chunk) else self.chunk[: self.left]
            self.left -= len(chunk)
            self.transport.write(chunk)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.send()


class RawCopyClient(BufferedEchoClient):
    """The receiving end of :class:`Source`."""

    def receive(self, total: int) -> asyncio.Future[None]:
        """Ask for bytes; the future is done when all have come."""
        waiter = self.echo(total.to_bytes(8, "big"))
        self.wanted = total
        return waiter


def serve_blocking(path: str, ready: Callable[[], None]) -> None:
    """Echo objects over ``multiprocessing.connection``, one client after another, for ever."""
    with Listener(path, "AF_UNIX") as listener:
        ready()
        while True:
            with listener.accept() as connection, contextlib.suppress(EOFError, ConnectionError):
                while True:
                    connection.send(connection.recv())
