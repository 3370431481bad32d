"""Streams: bytes in one or both directions, with credit, half-close and reset (docs/protocol.md, section T)."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgpack
from mypy_extensions import mypyc_attr

from virtagent.errors import SessionLost, StreamReset, VirtagentError
from virtagent.protocol.codec import EXT_STREAM, Codec, peer_error
from virtagent.protocol.frames import CREDIT, DATA, FLAG_END, FLAG_ERROR, RESET, FrameWriter
from virtagent.protocol.limits import Limits
from virtagent.protocol.schedule import BULK, NORMAL, Buffers, Scheduler

__all__ = ["ITEMS", "RECEIVES", "SENDS", "Stream", "StreamTable"]

REFERENCE: Final = struct.Struct(">IB")
OFFSET: Final = struct.Struct(">Q")

SENDS: Final = 1
RECEIVES: Final = 2
ITEMS: Final = 4
"""Flags of a reference, from its opener's point of view (rule T1)."""

LONGEST_STREAM_ERROR: Final = 192
"""Bytes of the text of an error that ends a stream: it must fit the smallest frame limit, 256 bytes."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Stream:
    """One stream of a session. The asyncio face derives from this and overrides the ``on_...`` methods.

    Attributes:
        identifier: its id in the session (rule H6).
        sends: whether this side may send in it.
        receives: whether this side receives in it.
        items: whether its bytes are a sequence of msgpack items (rule T3).
        priority: its class (rule P1).
        closed: the stream is over in both directions, or was reset.
    """

    def __init__(self, table: StreamTable, identifier: int, *, sends: bool, receives: bool, items: bool, priority: int):
        self._table = table
        self.identifier = identifier
        self.sends = sends
        self.receives = receives
        self.items = items
        self.priority = priority
        self.closed = False
        self._opened = False
        self._in_ring = False
        self._queue: deque[memoryview | bytes] = deque()
        self.queued = 0
        self._sent = 0
        self._send_limit = table.peer_window
        self._end: bytes | None = None
        self._reset_wanted: list[Any] | None = None
        self._received = 0
        self._consumed = 0
        self._window = table.limits.window
        self._granted = self._window

    def reference(self) -> Any:
        """What stands for this stream in a decoded message."""
        return self

    # -- for the asyncio face ------------------------------------------------------------------------------------

    def on_data(self, data: bytes) -> None:
        """Bytes came, in order and within the credit."""

    def on_end(self, error: VirtagentError | None) -> None:
        """The peer sends no more; with an error if it failed (rule T7)."""

    def on_reset(self, error: VirtagentError) -> None:
        """The stream is over in both directions (rule T8)."""

    def on_sent(self) -> None:
        """Queued bytes have left; ``queued`` tells how many still wait."""

    # -- sending -------------------------------------------------------------------------------------------------

    def send(self, data: bytes | memoryview) -> None:
        """Queue bytes; they are kept by reference. The caller waits while ``queued`` is above its bound."""
        self._queue.append(data)
        self.queued += len(data)
        self._wake()

    def end(self, error: list[Any] | None = None) -> None:
        """Half-close after what is queued, with an error if there is one (rule T7)."""
        if self._end is None:
            self._end = b"" if error is None else self._table.codec.pack(shortened(error))
            self._wake()

    def reset(self, error: list[Any]) -> None:
        """End both directions at once (rule T8); a no-op on a stream that is over."""
        if self.closed:
            return
        if not self._opened:
            self._reset_wanted = error
            self._drop_queue()
            return
        table = self._table
        reason = table.codec.pack(shortened(error))
        table.scheduler.control(RESET, self.identifier, reason, provoked=not table.is_mine(self.identifier))
        table.flush_wanted()
        self._over()

    def opened(self) -> None:
        """The message that opens this stream has left, or came from the peer: its frames may follow (rule T2)."""
        self._opened = True
        if self._reset_wanted is not None:
            self.reset(self._reset_wanted)
        else:
            self._wake()

    def _wake(self) -> None:
        if self._opened and not self._in_ring and not self.closed and self._sendable():
            self._in_ring = True
            self._table.scheduler.ready(self.priority, self)
            self._table.flush_wanted()

    def _sendable(self) -> bool:
        return self.sends and (
            (self.queued > 0 and self._sent < self._send_limit) or (self._end is not None and self.queued == 0)
        )

    def emit(self, writer: FrameWriter, limit: int, now: float, out: Buffers) -> bool:
        """One DATA frame of what credit and frame limit allow (rule T4)."""
        if self.closed or not self._sendable():
            self._in_ring = False
            return False
        parts = self._take(min(limit, self._send_limit - self._sent)) if self.queued else []
        kind = DATA
        last = self._end is not None and self.queued == 0 and (not self._end or not parts)
        if last and self._end is not None:
            kind |= FLAG_END
            if self._end:
                kind |= FLAG_ERROR
                parts = [self._end]
        out += writer.pieces(kind, self.identifier, parts)
        if last:
            self.sends = False
            self._finish_if_done()
        if parts:
            self.on_sent()
        self._in_ring = not last and self._sendable()
        return self._in_ring

    def _take(self, size: int) -> Buffers:
        parts: Buffers = []
        queue = self._queue
        left = size
        while queue and left:
            piece = queue.popleft()
            if len(piece) > left:
                view = memoryview(piece)
                queue.appendleft(view[left:])
                piece = view[:left]
            parts.append(piece)
            left -= len(piece)
        self.queued -= size - left
        self._sent += size - left
        return parts

    # -- receiving -----------------------------------------------------------------------------------------------

    def consume(self, count: int) -> None:
        """The reader has taken ``count`` bytes; refill the credit when half of it is used (rule T5)."""
        self._consumed += count
        if self.closed or not self.receives:
            return
        if (self._granted - self._consumed) * 2 <= self._window:
            self._window += self._table.grow(self._window)
            self._granted = self._consumed + self._window
            self._table.grant(self.identifier, self._granted)

    def receive_data(self, payload: memoryview, *, end: bool, error: bool) -> None:
        """A DATA frame came."""
        if not self.receives:
            return
        if error:
            self.receives = False
            self.on_end(self._table.decode_error(payload))
        else:
            if payload:
                self._received += len(payload)
                if self._received > self._granted:
                    self._table.overruns += 1
                    self._fail([8, "more data than the credit allowed", None])
                    return
                self.on_data(bytes(payload))
            if not end:
                return
            self.receives = False
            self.on_end(None)
        self._finish_if_done()

    def receive_credit(self, limit: int) -> None:
        """A CREDIT frame came; limits never go down (rule T4)."""
        if limit > self._send_limit:
            self._send_limit = limit
            self._wake()

    def receive_reset(self, error: VirtagentError) -> None:
        """A RESET frame came, or the session ended."""
        if not self.closed:
            self._over()
            self.on_reset(error)

    def _fail(self, error: list[Any]) -> None:
        self.reset(error)
        self.on_reset(StreamReset(str(error[1]), code=int(error[0])))

    def _finish_if_done(self) -> None:
        if not self.sends and not self.receives:
            self._over()

    def _over(self) -> None:
        self.closed = True
        self.sends = self.receives = False
        self._drop_queue()
        self._table.remove(self, self._window)

    def _drop_queue(self) -> None:
        self._queue.clear()
        self.queued = 0


MakeStream = Callable[..., Stream]


class StreamTable:
    """The streams of one session.

    Args:
        limits: what this side accepts.
        peer_window: the reserved window that the peer grants every stream.
        peer_streams: how many streams the peer lets this side open.
        odd: whether this side opens odd ids (rule H6).
        scheduler: where frames wait.
        make_stream: the class of streams (the asyncio face), taking the arguments of :class:`Stream`.
        flush_wanted: called when something waits to be sent.

    Attributes:
        credits: the CREDIT frames that are due: stream id to limit.
        overruns: how often the peer sent beyond its credit (rule T6).
        refused: streams of the peer that were refused (rule T9).
    """

    def __init__(
        self,
        limits: Limits,
        *,
        peer_window: int,
        peer_streams: int,
        odd: bool,
        scheduler: Scheduler,
        make_stream: MakeStream = Stream,
        flush_wanted: Callable[[], None] = lambda: None,
    ) -> None:
        self.limits = limits
        self.peer_window = peer_window
        self.scheduler = scheduler
        self.flush_wanted = flush_wanted
        self.codec = Codec()
        self._peer_streams = peer_streams
        self._parity = 1 if odd else 0
        self._next = 1 if odd else 2
        self._make_stream = make_stream
        self._streams: dict[int, Stream] = {}
        self._mine = 0
        self._surplus = limits.surplus
        self.credits: dict[int, int] = {}
        self.overruns = 0
        self.refused = 0

    def __len__(self) -> int:
        return len(self._streams)

    # -- opening -------------------------------------------------------------------------------------------------

    def open(self, flags: int, priority: int) -> tuple[Stream, msgpack.ExtType]:
        """Open a stream; put the reference into a message and call :meth:`Stream.opened` when that has left.

        Raises:
            UsageError: the peer's limit of open streams is reached.
        """
        if self._mine >= self._peer_streams:
            raise VirtagentError(
                f"the peer accepts {self._peer_streams} open streams and all are in use; end some first"
            )
        identifier = self._next
        self._next += 2
        self._mine += 1
        stream = self._make(identifier, flags, priority, sends=bool(flags & SENDS), receives=bool(flags & RECEIVES))
        return stream, msgpack.ExtType(EXT_STREAM, REFERENCE.pack(identifier, flags))

    def is_mine(self, identifier: int) -> bool:
        """Whether this side has opened the stream, and not the peer (rule H6)."""
        return identifier & 1 == self._parity

    @property
    def is_full(self) -> bool:
        """Whether the peer has as many streams open as it may (rule T9)."""
        return len(self._streams) - self._mine >= self.limits.streams

    def accept(self, data: bytes) -> Stream:
        """Take in a reference that the peer sent (rules T1, T9).

        Raises:
            ValueError: it is no acceptable reference.
        """
        if len(data) != REFERENCE.size:
            raise ValueError("a stream's reference has 5 bytes")
        identifier, flags = REFERENCE.unpack(data)
        if identifier == 0 or identifier & 1 == self._parity or identifier in self._streams:
            raise ValueError(f"the stream id {identifier} is not the peer's to open, or is open already")
        if not flags & (SENDS | RECEIVES):
            raise ValueError("a stream without a direction")
        priority = NORMAL if flags & ITEMS else BULK
        stream = self._make(identifier, flags, priority, sends=bool(flags & RECEIVES), receives=bool(flags & SENDS))
        stream.opened()
        return stream

    def _make(self, identifier: int, flags: int, priority: int, *, sends: bool, receives: bool) -> Stream:
        stream = self._make_stream(
            self, identifier, sends=sends, receives=receives, items=bool(flags & ITEMS), priority=priority
        )
        self._streams[identifier] = stream
        return stream

    def refuse(self, data: bytes) -> None:
        """Reset a stream whose reference came in a message that is refused (rule T9)."""
        self.refused += 1
        identifier = REFERENCE.unpack(data)[0] if len(data) == REFERENCE.size else 0
        if identifier and identifier & 1 != self._parity and identifier not in self._streams:
            error = [8, f"more than {self.limits.streams} open streams", None]
            self.scheduler.control(RESET, identifier, self.codec.pack(error))

    def discard(self, stream: Stream) -> None:
        """Forget a stream whose opening message never left."""
        if not stream.closed:
            stream.receive_reset(StreamReset("the message that opens this stream was not sent"))

    # -- frames in -----------------------------------------------------------------------------------------------

    def receive(self, kind: int, identifier: int, payload: memoryview) -> None:
        """A DATA, CREDIT or RESET frame came; frames of streams that are closed here are ignored (rule T8)."""
        stream = self._streams.get(identifier)
        if stream is None:
            return
        base = kind & 15
        if base == DATA:
            stream.receive_data(payload, end=bool(kind & FLAG_END), error=bool(kind & FLAG_ERROR))
        elif base == CREDIT and len(payload) == OFFSET.size:
            stream.receive_credit(OFFSET.unpack(payload)[0])
        elif base == RESET:
            stream.receive_reset(self.decode_error(payload))

    def decode_error(self, payload: memoryview) -> VirtagentError:
        """The error that ends a stream; whatever the peer sent gives one."""
        try:
            value = self.codec.unpack(payload)
        except Exception:  # whatever the decoder says of it
            return StreamReset("the peer ended the stream")
        return peer_error(value)

    def end_all(self, error: SessionLost) -> None:
        """The session is over (rule G5)."""
        for stream in list(self._streams.values()):
            stream.receive_reset(error)

    # -- credit --------------------------------------------------------------------------------------------------

    def grow(self, window: int) -> int:
        """How much a stream's window may grow: it doubles while there is surplus (rule T5)."""
        more = max(0, min(window, self.limits.largest_window - window, self._surplus))
        self._surplus -= more
        return more

    def grant(self, identifier: int, limit: int) -> None:
        """Tell the peer the new limit with the next frames; only the newest counts."""
        self.credits[identifier] = limit
        self.flush_wanted()

    def emit_credits(self) -> None:
        """Queue the CREDIT frames that are due."""
        for identifier, limit in self.credits.items():
            self.scheduler.control(CREDIT, identifier, OFFSET.pack(limit))
        self.credits.clear()

    def remove(self, stream: Stream, window: int) -> None:
        """A stream is over; what it had of the surplus goes back."""
        if self._streams.pop(stream.identifier, None) is None:
            return
        if self.is_mine(stream.identifier):
            self._mine -= 1
        self.credits.pop(stream.identifier, None)
        self._surplus += window - self.limits.window


def shortened(error: list[Any]) -> list[Any]:
    """An error cut so that it fits any frame."""
    text = str(error[1]).encode("utf-8", "surrogateescape")[:LONGEST_STREAM_ERROR]
    return [error[0], text.decode("utf-8", "ignore"), None]
