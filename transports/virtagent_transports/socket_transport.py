"""An asyncio transport over a connected stream socket, and the acceptor that makes one for each connection.

What the loops' own socket transports lack here: asyncio's passes every read through two more layers and joins what is
written in pieces; accepting takes it four turns of the loop. All that each message would pay.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterable
from typing import Any

from .fd_transport import FdTransport
from .listener import Server
from .sockets import Connected, hold_a_frame, paired
from .write_queue import IOV, Bytes

__all__ = ["Acceptor", "SocketTransport", "accepting", "connected"]

log = logging.getLogger(__name__)

ACCEPTS_PER_TURN = 64
"""Connections taken in one turn of the loop."""

ACCEPT_PAUSE = 1.0
"""Seconds without accepting when file descriptors or memory have run out; asyncio's own figure."""

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class SocketTransport(FdTransport):
    """A transport that owns a connected, non-blocking stream socket."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.BaseProtocol, sock: socket.socket) -> None:
        fd = sock.fileno()
        super().__init__(loop, protocol, fd, fd, extra={"socket": sock})
        self._sock = sock
        self._recv_into = sock.recv_into

    def _read_ready(self) -> None:
        protocol: Any = self._protocol
        if not self._buffered:
            self._read_once()
            return
        try:
            count = self._recv_into(protocol.get_buffer(-1))
        except OSError as error:
            self._not_read(error)
            return
        except Exception as error:
            self._fail(error, "protocol.get_buffer() failed")
            return
        if not count:
            self._end_of_input()
            return
        try:
            protocol.buffer_updated(count)
        except Exception as error:
            self._fail(error, "protocol.buffer_updated() failed")

    def writelines(self, list_of_data: Iterable[Bytes]) -> None:
        """As :meth:`WriteSide.writelines`, and at once where the socket takes all, as it takes most frames."""
        pieces = list(list_of_data)
        if self._closing or self._queue.size or len(pieces) > IOV:
            super().writelines(pieces)
            return
        try:
            sent = self._sock.sendmsg(pieces)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._lose(error)
            return
        rest = [memoryview(piece).cast("B") for piece in pieces] if sent < size_of(pieces) else []
        while rest and sent >= len(rest[0]):
            sent -= len(rest.pop(0))
        if rest:
            rest[0] = rest[0][sent:]
            super().writelines(rest)

    def _release(self) -> None:
        self._sock.close()


def size_of(pieces: list[Bytes]) -> int:
    """Bytes of all pieces, whatever the items of their views are."""
    return sum(piece.nbytes if isinstance(piece, memoryview) else len(piece) for piece in pieces)


async def connected(protocol: asyncio.BaseProtocol, sock: socket.socket) -> Connected:
    """A transport and its protocol on a connected, non-blocking socket, which the transport owns from now on."""
    loop = asyncio.get_running_loop()
    hold_a_frame(sock)
    if not is_selector_loop(loop):
        create = loop.create_unix_connection if sock.family == socket.AF_UNIX else loop.create_connection
        return paired(await create(lambda: protocol, sock=sock))
    transport = SocketTransport(loop, protocol, sock)
    transport.start()
    return transport, protocol


async def accepting(factory: Callable[[], asyncio.BaseProtocol], sock: socket.socket) -> Server:
    """A server on a listening, non-blocking socket, which it owns from now on; each connection gets a protocol."""
    loop = asyncio.get_running_loop()
    if not is_selector_loop(loop):
        create = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
        return await create(factory, sock=sock)
    return Acceptor(loop, factory, sock)


def is_selector_loop(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it is asyncio's own loop: uvloop's transports are in C and ahead of these."""
    return isinstance(loop, asyncio.SelectorEventLoop)


class Acceptor:
    """Accepts the connections of a listening socket, until it is closed; see :func:`accepting`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, factory: Callable[[], asyncio.BaseProtocol], sock: socket.socket
    ) -> None:
        self._loop = loop
        self._factory = factory
        self._sock = sock
        self._resume: asyncio.TimerHandle | None = None
        self._loop.add_reader(sock.fileno(), self._accept_ready)

    def _accept_ready(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, _address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                log.error("no connection can be accepted: %s; trying again in %g s", error.strerror, ACCEPT_PAUSE)
                self._loop.remove_reader(self._sock.fileno())
                self._resume = self._loop.call_later(ACCEPT_PAUSE, self._go_on)
                return
            sock.setblocking(False)
            hold_a_frame(sock)
            try:
                SocketTransport(self._loop, self._factory(), sock).start()
            except Exception as error:
                context = {"message": "a connection could not be taken in", "exception": error}
                self._loop.call_exception_handler(context)
                sock.close()

    def _go_on(self) -> None:
        self._resume = None
        self._loop.add_reader(self._sock.fileno(), self._accept_ready)

    def close(self) -> None:
        """Stop accepting; connections that were accepted live on. May be called again."""
        if self._sock.fileno() < 0:
            return
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
