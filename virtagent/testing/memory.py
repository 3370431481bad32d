"""Channels in memory: two asyncio transports joined back to back, with flow control, and two peers over them.

::

    async with peer_pair(handlers_b=[...]) as (a, b):
        await a.call("b.method")

    pair = memory_pair()
    here = ConnectingPeer("memory:", [], PeerOptions(), open_channel=pair.open_a)
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from virtagent.errors import ChannelUnavailable
from virtagent.peer.channel import Channel
from virtagent.peer.connecting import ConnectingPeer
from virtagent.peer.handler import Handler, Router
from virtagent.peer.options import PeerOptions
from virtagent.peer.peer import Peer
from virtagent_transports import ChannelFacts

__all__ = ["MemoryPair", "MemoryTransport", "Wire", "memory_pair", "peer_pair"]

CAPACITY = 64 * 1024
"""Bytes under way in each direction before a writer has to wait, as in a socket's buffers."""

PIECE = 64 * 1024
"""Bytes delivered at a time."""

FACTS = ChannelFacts(scheme="memory", name="memory:")

ProtocolFactory = Callable[[Any], asyncio.BaseProtocol]
Opened = tuple["MemoryTransport", asyncio.BaseProtocol]


class Wire:
    """One direction of a channel, sans-I/O: bytes and the time in, bytes out. This one is perfect and takes no time.

    Attributes:
        held: bytes under way.
    """

    def __init__(self) -> None:
        self.held = 0
        self._pieces: deque[bytes] = deque()

    @property
    def next_at(self) -> float:
        """When :meth:`receive` will give something; ``math.inf``: not unless something is sent."""
        return -math.inf if self._pieces else math.inf

    def send(self, data: bytes, now: float) -> None:
        """Bytes go in."""
        self._pieces.append(data)
        self.held += len(data)

    def receive(self, now: float) -> list[bytes]:
        """What has come out by now, in pieces to be delivered one by one."""
        out = list(self._pieces)
        self.clear()
        return out

    def clear(self) -> None:
        """Whatever is under way is lost."""
        self._pieces.clear()
        self.held = 0


class MemoryTransport(asyncio.Transport):
    """One end of a channel in memory. It keeps every promise of an asyncio transport (``check_transport`` says so)."""

    def __init__(self, protocol: asyncio.BaseProtocol, wire: Wire, capacity: int) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._wire = wire
        self._capacity = capacity
        self._far: MemoryTransport = self
        self._out: deque[bytes] = deque()
        self._out_size = 0
        self._inbox: deque[bytes] = deque()
        self._inbox_size = 0
        self._high, self._low = 64 * 1024, 16 * 1024
        self._writing_paused = self._reading_paused = False
        self._closing = self._lost = False
        self._eof_wanted = self._eof_sent = self._eof_received = self._eof_told = False
        self._delivery: asyncio.Handle | None = None
        self._arrival: asyncio.TimerHandle | None = None
        self.set_protocol(protocol)

    def join(self, far: MemoryTransport) -> None:
        """The other end; done once, before ``connection_made``."""
        self._far, far._far = far, self

    def __repr__(self) -> str:
        state = "closed" if self._lost else "closing" if self._closing else "open"
        return f"<{type(self).__name__} {state}, {self._out_size} bytes queued>"

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol: Any = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)

    # -- writing -------------------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or self._eof_wanted or not len(data):
            return
        copy = bytes(data)
        self._out.append(copy)
        self._out_size += len(copy)
        self._push()
        if self._out_size > self._high and not self._writing_paused and not self._lost:
            self._writing_paused = True
            self._call(self._protocol.pause_writing)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._eof_wanted = True
        self._push()

    def get_write_buffer_size(self) -> int:
        return self._out_size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None and low is None else 4 * (low or 0) if high is None else high
        self._low = self._high // 4 if low is None else low

    def _push(self) -> None:
        """Move what is queued onto the wire, as far as there is room, and off it at the other end."""
        self._advance_wire()
        while self._out and (room := self._capacity - self._wire.held - self._far._inbox_size) > 0:
            piece = self._out.popleft()
            if len(piece) > (most := min(room, PIECE)):
                self._out.appendleft(piece[most:])
                piece = piece[:most]
            self._out_size -= len(piece)
            self._wire.send(piece, self._loop.time())
            self._advance_wire()
        if self._out:
            return
        if self._closing and not self._lost:
            self._lose(None)
        if self._eof_wanted and not self._eof_sent and not self._wire.held:
            self._eof_sent = True
            self._far._take_eof()

    def _advance_wire(self) -> None:
        now = self._loop.time()
        for piece in self._wire.receive(now):
            self._far._take(piece)
        if self._wire.next_at < math.inf and self._arrival is None:
            self._arrival = self._loop.call_at(self._wire.next_at, self._arrive)

    def _arrive(self) -> None:
        self._arrival = None
        self._room_made()

    def _room_made(self) -> None:
        self._push()
        if self._writing_paused and self._out_size <= self._low and not self._lost:
            self._writing_paused = False
            self._call(self._protocol.resume_writing)

    def wire_changed(self) -> None:
        """The wire was repaired, released or emptied from outside: look again when its next bytes come."""
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None
        self._loop.call_soon(self._room_made)

    # -- reading -------------------------------------------------------------------------------------------------

    def is_reading(self) -> bool:
        return not self._reading_paused and not self._closing

    def pause_reading(self) -> None:
        self._reading_paused = True

    def resume_reading(self) -> None:
        self._reading_paused = False
        self._deliver_soon()

    def _take(self, piece: bytes) -> None:
        if not self._closing:
            self._inbox.append(piece)
            self._inbox_size += len(piece)
            self._deliver_soon()

    def _take_eof(self) -> None:
        self._eof_received = True
        self._deliver_soon()

    def _deliver_soon(self) -> None:
        if self._delivery is None and not self._closing and (self._inbox or self._eof_received):
            self._delivery = self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._delivery = None
        if self._reading_paused or self._closing:
            return
        if self._inbox:
            self._deliver_piece()
            self._far._room_made()
        elif self._eof_received and not self._eof_told:
            self._eof_told = True
            if not self._call(self._protocol.eof_received):
                self.close()
        if self._inbox or not self._eof_told:
            self._deliver_soon()

    def _deliver_piece(self) -> None:
        piece = self._inbox.popleft()
        self._inbox_size -= len(piece)
        if not self._buffered:
            self._call(self._protocol.data_received, piece)
            return
        buffer = self._call(self._protocol.get_buffer, len(piece))
        if buffer is None:
            return
        count = min(len(piece), len(buffer))
        memoryview(buffer)[:count] = piece[:count]
        if count < len(piece):
            self._inbox.appendleft(piece[count:])
            self._inbox_size += len(piece) - count
        self._call(self._protocol.buffer_updated, count)

    def _call(self, callback: Callable[..., Any], *args: Any) -> Any:
        """Call the protocol; its error is reported, and ends the connection, as in asyncio's own transports."""
        try:
            return callback(*args)
        except Exception as error:
            context = {"message": f"{callback.__name__}() failed", "exception": error, "transport": self}
            self._loop.call_exception_handler(context)
            self._lose(error)
            return None

    # -- the end -------------------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._drop_inbox()
            self._push()
            self._loop.call_soon(self._far._room_made)

    def abort(self) -> None:
        self._lose(None)

    def break_off(self, error: Exception) -> None:
        """The channel breaks: what is under way is lost, and the protocol is told the error."""
        self._wire.clear()
        self._lose(error)

    def _drop_inbox(self) -> None:
        self._inbox.clear()
        self._inbox_size = 0

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._closing = self._lost = self._eof_wanted = True
        self._out.clear()
        self._out_size = 0
        self._drop_inbox()
        self._loop.call_soon(self._protocol.connection_lost, error)
        self._loop.call_soon(self._push)
        self._loop.call_soon(self._far._room_made)


class MemoryPair:
    """A place where two sides meet: whenever both have opened it, they are connected, again and again.

    ``open_a`` and ``open_b`` take a protocol factory and return ``(transport, protocol)``, as
    :func:`virtagent_transports.connect` does. They may be unpacked: ``open_a, open_b = memory_pair()``.

    Attributes:
        ends: the two transports of the newest connection, or None before the first.
        opened: how many connections there were.
        unavailable: while it is a text, opening fails with ``ChannelUnavailable`` and this text.
        attempts: the times at which a side tried to open, whether it could or not.
    """

    def __init__(self, facts: tuple[Any, Any], capacity: int, make_wire: Callable[[], Wire]) -> None:
        self._facts = facts
        self._capacity = capacity
        self._make_wire = make_wire
        self._waiting: dict[int, tuple[ProtocolFactory, asyncio.Future[Opened]]] = {}
        self.ends: tuple[MemoryTransport, MemoryTransport] | None = None
        self.wires: tuple[Wire, Wire] | None = None
        self.opened = 0
        self.unavailable: str | None = None
        self.attempts: list[float] = []

    def __iter__(self) -> Iterator[Callable[[ProtocolFactory], Any]]:
        return iter((self.open_a, self.open_b))

    async def open_a(self, protocol_factory: ProtocolFactory) -> Opened:
        """Open the first side; waits for the other. Cancelling leaves nothing behind.

        Raises:
            ChannelUnavailable: the pair was made unavailable.
        """
        return await self._open(0, protocol_factory)

    async def open_b(self, protocol_factory: ProtocolFactory) -> Opened:
        """Open the second side; see :meth:`open_a`."""
        return await self._open(1, protocol_factory)

    async def _open(self, side: int, factory: ProtocolFactory) -> Opened:
        loop = asyncio.get_running_loop()
        self.attempts.append(loop.time())
        if self.unavailable is not None:
            raise ChannelUnavailable(self.unavailable)
        future: asyncio.Future[Opened] = loop.create_future()
        self._waiting[side] = (factory, future)
        try:
            if len(self._waiting) == 2:
                self._connect()
            return await future
        finally:
            if self._waiting.get(side) == (factory, future):
                del self._waiting[side]

    def _connect(self) -> None:
        waiting, self._waiting = self._waiting, {}
        self.wires = self._make_wire(), self._make_wire()
        opened = []
        for side in (0, 1):
            protocol = waiting[side][0](self._facts[side])
            opened.append((MemoryTransport(protocol, self.wires[side], self._capacity), protocol))
        self.ends = opened[0][0], opened[1][0]
        self.ends[0].join(self.ends[1])
        self.opened += 1
        for side in (1, 0):
            transport, protocol = opened[side]
            protocol.connection_made(transport)
            if not waiting[side][1].done():
                waiting[side][1].set_result((transport, protocol))

    def cut(self) -> None:
        """Break the connection: both sides lose it, and what is under way."""
        for end in self.ends or ():
            end.break_off(ConnectionResetError("the wire was cut"))


def memory_pair(
    *,
    facts_a: Any = FACTS,
    facts_b: Any = None,
    capacity: int = CAPACITY,
    make_wire: Callable[[], Wire] = Wire,
) -> MemoryPair:
    """A channel in memory.

    Args:
        facts_a: what the first side is told of its channel; by default a connector on a lossless channel.
        facts_b: the same for the second; by default it is the acceptor of the same channel.
        capacity: bytes under way in each direction.
        make_wire: makes each direction of each connection (:class:`virtagent.testing.faulty.FaultyWire`, say).
    """
    if facts_b is None:
        facts_b = facts_a._replace(connecting=False)
    return MemoryPair((facts_a, facts_b), capacity, make_wire)


@asynccontextmanager
async def peer_pair(
    handlers_a: Iterable[Handler] = (),
    handlers_b: Iterable[Handler] = (),
    *,
    options: PeerOptions | None = None,
    options_a: PeerOptions | None = None,
    options_b: PeerOptions | None = None,
    pair: MemoryPair | None = None,
    reconnect: bool = False,
    timeout: float = 10.0,
) -> AsyncIterator[tuple[Peer, Peer]]:
    """Two peers that are up, over a channel in memory; both are closed at the end.

    Args:
        handlers_a, handlers_b: the methods of each side.
        options: the behaviour of both, unless ``options_a`` or ``options_b`` says otherwise.
        pair: the channel; None: a new :func:`memory_pair`.
        reconnect: both sides open the channel again whenever it is lost.
        timeout: seconds in which they must be up.

    Raises:
        NobodyAnswers: they were not.
    """
    pair = pair or memory_pair()
    default = options or PeerOptions()
    peers: list[Peer] = []
    opening: list[Awaitable[Any]] = []
    for handlers, each, open_channel, name in (
        (handlers_a, options_a, pair.open_a, "memory:a"),
        (handlers_b, options_b, pair.open_b, "memory:b"),
    ):
        if reconnect:
            connecting = ConnectingPeer(name, handlers, each or default, open_channel=open_channel)
            peers.append(connecting)
            opening.append(connecting.open_once())
        else:
            peer = Peer(Router(handlers), each or default, name=name)
            peers.append(peer)
            opening.append(open_channel(lambda facts, peer=peer: Channel(facts, lambda _: peer)))  # type: ignore[misc]
    try:
        await asyncio.gather(*opening)
        for peer in peers:
            if isinstance(peer, ConnectingPeer):
                peer.keep_open()
            await peer.wait_ready(timeout)
        yield peers[0], peers[1]
    finally:
        for peer in peers:
            await peer.aclose()
