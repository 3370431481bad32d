"""Who is next on the wire: four classes, turns within a class, batches and fragments (docs/protocol.md, section P)."""

from __future__ import annotations

import struct
from collections import deque
from typing import Final, Protocol

from virtagent.protocol.frames import ABORT, BATCH, FLAG_FIRST, FLAG_LAST, FRAGMENT, MESSAGE, FrameWriter

__all__ = ["BULK", "CONTROL", "NORMAL", "URGENT", "Outgoing", "Scheduler", "Source"]

CONTROL: Final = 0
URGENT: Final = 1
NORMAL: Final = 2
BULK: Final = 3

MOST_CONTROL: Final = 4096
"""Control frames that may wait: a peer that provokes more and reads none loses the session (rule L1)."""

SHARE: Final = 8
"""A class that waits gets at least one byte in this many (rule P2)."""

JOIN_BELOW: Final = 16 * 1024
"""Bytes of a message that are copied behind their header, for one buffer instead of two."""

BATCH_HEADER: Final = struct.Struct(">BH")
BATCH_MARK: Final = 0xDC
LARGEST_BATCH: Final = 0xFFFF
TOTAL: Final = struct.Struct(">I")

Buffers = list[bytes | memoryview]


class Outgoing:
    """A message that waits to be sent.

    Attributes:
        data: the encoded message, or None once it is not to be sent any more.
        late: its bytes are made only when it leaves, by :meth:`take`; otherwise they are ``data``.
    """

    __slots__ = ("data",)
    late = False

    def __init__(self, data: bytes | None) -> None:
        self.data = data

    def take(self, now: float) -> bytes | None:
        """The bytes, now that they leave; None where they are not wanted any more."""
        return self.data

    def left(self) -> None:
        """The whole message has been handed to the channel."""


class Source(Protocol):
    """Something that takes its turn in a class: it emits one frame at a time."""

    def emit(self, writer: FrameWriter, limit: int, now: float, out: Buffers) -> bool:
        """Append one frame (or nothing) to ``out``; whether there is more to emit now."""


class Transfer:
    """A message longer than the frame limit, on its way in fragments (rule P4)."""

    __slots__ = ("_message", "_offset", "_rest", "identifier")

    def __init__(self, identifier: int, message: Outgoing, data: bytes) -> None:
        self.identifier = identifier
        self._message = message
        self._rest = memoryview(data)
        self._offset = 0

    def emit(self, writer: FrameWriter, limit: int, now: float, out: Buffers) -> bool:
        """The next fragment; an ABORT where the message is not wanted any more (rules C8, P5)."""
        if self._message.data is None:
            out += writer.pieces(ABORT, self.identifier, [])
            return False
        parts: Buffers = []
        kind = FRAGMENT
        if self._offset == 0:
            kind |= FLAG_FIRST
            parts.append(TOTAL.pack(len(self._rest)))
            limit -= TOTAL.size
        piece = self._rest[self._offset : self._offset + limit]
        parts.append(piece)
        self._offset += len(piece)
        last = self._offset == len(self._rest)
        out += writer.pieces(kind | FLAG_LAST if last else kind, self.identifier, parts)
        if last:
            self._message.left()
        return not last


class MessageQueue:
    """The messages of one class that wait; they share frames (rule P4)."""

    __slots__ = ("_carried", "_dropped", "_scheduler", "_waiting", "in_ring")

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._waiting: deque[Outgoing] = deque()
        self._carried: tuple[Outgoing, bytes] | None = None
        self._dropped = 0
        self.in_ring = False

    def __len__(self) -> int:
        return len(self._waiting) + (self._carried is not None)

    def append(self, message: Outgoing) -> None:
        self._waiting.append(message)

    def dropped(self) -> None:
        """One waiting message is not wanted any more; sweep when these are most of what waits."""
        self._dropped += 1
        if self._dropped > 64 and self._dropped * 2 > len(self._waiting):
            self._waiting = deque(message for message in self._waiting if message.data is not None)
            self._dropped = 0

    def _next(self, now: float) -> tuple[Outgoing, bytes] | None:
        if self._carried is not None:
            carried, self._carried = self._carried, None
            if carried[0].data is not None:
                return carried
        while self._waiting:
            message = self._waiting.popleft()
            data = message.take(now) if message.late else message.data
            if data is not None:
                return message, data
            self._dropped = max(0, self._dropped - 1)
        return None

    def emit(self, writer: FrameWriter, limit: int, now: float, out: Buffers) -> bool:
        """One frame with as many messages as fit; a message that is too long becomes a transfer."""
        waiting = self._waiting
        if len(waiting) == 1 and self._carried is None:
            message = waiting.popleft()
            data = message.take(now) if message.late else message.data
            self.in_ring = False
            if data is None:
                self._dropped = 0
            elif len(data) > limit:
                self._scheduler.start_transfer(self, message, data)
            else:
                message.left()
                emit_message(writer, data, out)
            return False
        self._emit_batch(writer, limit, now, out)
        self.in_ring = bool(self)
        return self.in_ring

    def _emit_batch(self, writer: FrameWriter, limit: int, now: float, out: Buffers) -> None:
        first = self._next(now)
        if first is None:
            return
        message, data = first
        if len(data) > limit:
            self._scheduler.start_transfer(self, message, data)
            return
        message.left()
        batch = [b"", data]
        size = BATCH_HEADER.size + len(data)
        waiting = self._waiting
        while waiting and len(batch) <= LARGEST_BATCH:
            message = waiting.popleft()
            following = message.take(now) if message.late else message.data
            if following is None:
                self._dropped = max(0, self._dropped - 1)
                continue
            size += len(following)
            if size > limit:
                self._carried = message, following
                break
            message.left()
            batch.append(following)
        if len(batch) == 2:
            emit_message(writer, batch[1], out)
        else:
            batch[0] = BATCH_HEADER.pack(BATCH_MARK, len(batch) - 1)
            out.append(writer.joined(BATCH, batch))


class Scheduler:
    """The queues of one session's sending side.

    Args:
        limit: largest payload of a frame.
        peer_streams: how many streams the peer may have open: each may have to be reset at once.

    Attributes:
        has_data: something waits to be sent.
        is_flooded: more control frames wait than a peer that reads can provoke (rule L1).
        sole: the message that waits alone, outside all queues, or None.
    """

    __slots__ = (
        "_control",
        "_limit",
        "_most_control",
        "_next_transfer",
        "_owed",
        "_provoked",
        "_queues",
        "_rings",
        "_sole_priority",
        "_sources",
        "has_data",
        "is_flooded",
        "sole",
    )

    def __init__(self, limit: int, peer_streams: int = 0) -> None:
        self._limit = limit
        self._most_control = MOST_CONTROL + peer_streams
        self._provoked = 0
        self._control: list[tuple[int, int, bytes]] = []
        self._rings: list[deque[Source]] = [deque() for _ in range(4)]
        self._queues = [MessageQueue(self) for _ in range(4)]
        self._owed = [0.0] * 4
        self._sources = 0
        self.sole: Outgoing | None = None
        self._sole_priority = NORMAL
        self.has_data = False
        self.is_flooded = False
        self._next_transfer = 1

    @property
    def waiting_messages(self) -> int:
        """Messages that wait in all classes."""
        return sum(map(len, self._queues)) + (self.sole is not None)

    def control(self, kind: int, stream: int, payload: bytes, *, provoked: bool = True) -> None:
        """Queue a control frame. ``provoked``: the peer can make this side send as many as it likes."""
        if self.sole is not None:
            self._queue_sole(self.sole)
        self._control.append((kind, stream, payload))
        self.has_data = True
        if provoked:
            self._provoked += 1
            self.is_flooded = self._provoked > self._most_control

    def message(self, priority: int, message: Outgoing) -> None:
        """Queue a message in its class. One that waits alone needs no queue: it is what most calls are."""
        if not self.has_data:
            self.sole = message
            self._sole_priority = priority
            self.has_data = True
            return
        if self.sole is not None:
            self._queue_sole(self.sole)
        self._queue(priority, message)

    def _queue_sole(self, sole: Outgoing) -> None:
        self.sole = None
        self._queue(self._sole_priority, sole)

    def _queue(self, priority: int, message: Outgoing) -> None:
        queue = self._queues[priority]
        if not queue.in_ring:
            queue.in_ring = True
            self._sources += 1
            self._rings[priority].append(queue)
        queue.append(message)

    def forget(self, priority: int, message: Outgoing) -> None:
        """A queued message is not wanted any more (rule C8); a half-sent one is aborted when its turn comes (P5)."""
        message.data = None
        if self.sole is message:
            self.sole = None
            self.has_data = False
        else:
            self._queues[priority].dropped()

    def ready(self, priority: int, source: Source) -> None:
        """A stream has something to send; it must not be queued already."""
        if self.sole is not None:
            self._queue_sole(self.sole)
        self._sources += 1
        self.has_data = True
        self._rings[priority].append(source)

    def start_transfer(self, queue: MessageQueue, message: Outgoing, data: bytes) -> None:
        """Send a long message in fragments, taking turns with the rest of its class (rules P3, P4)."""
        transfer = Transfer(self._next_transfer, message, data)
        self._next_transfer = self._next_transfer % 0xFFFFFFFF + 1
        self._sources += 1
        self._rings[self._queues.index(queue)].append(transfer)

    def emit_sole(self, writer: FrameWriter, message: Outgoing, now: float, out: Buffers) -> None:
        """Append the frame of the message that waits alone; nothing if it is not wanted, or has become a transfer."""
        self.sole = None
        data = message.take(now) if message.late else message.data
        if data is not None and len(data) > self._limit:
            self.start_transfer(self._queues[self._sole_priority], message, data)
            return
        self.has_data = False
        if data is not None:
            message.left()
            emit_message(writer, data, out)

    def emit(self, writer: FrameWriter, budget: int, now: float, out: Buffers) -> None:
        """Append frames to ``out`` until ``budget`` bytes are reached or nothing is left."""
        total = 0
        if self.sole is not None:
            self.emit_sole(writer, self.sole, now, out)
            total = sum(map(len, out))
        if self._control:
            for kind, stream, payload in self._control:
                out.append(writer.frame(kind, stream, payload))
            self._control.clear()
            self._provoked = 0
            self.is_flooded = False
        rings = self._rings
        while self._sources and total < budget:
            contended = self._sources > 1
            priority = self._pick()
            ring = rings[priority]
            source = ring.popleft()
            before = len(out)
            if source.emit(writer, self._limit, now, out):
                ring.append(source)
            else:
                self._sources -= 1
                if not self._sources:
                    break
            size = sum(map(len, out[before:]))
            total += size
            if contended:
                self._account(priority, size)
        self.has_data = self._sources > 0

    def _pick(self) -> int:
        """The class whose turn it is (rules P1, P2); something waits."""
        _, urgent, normal, bulk = self._rings
        if bulk and (self._owed[BULK] > 0 or not (urgent or normal)):
            return BULK
        if normal and (self._owed[NORMAL] > 0 or not urgent):
            return NORMAL
        return URGENT

    def _account(self, chosen: int, size: int) -> None:
        """A class that waited while others sent is owed an eighth of it, one with nothing to send nothing."""
        for priority in (NORMAL, BULK):
            if not self._rings[priority] and priority != chosen:
                self._owed[priority] = 0.0
                continue
            owed = self._owed[priority] + size / SHARE
            self._owed[priority] = min(owed - size if priority == chosen else owed, float(self._limit))


def emit_message(writer: FrameWriter, data: bytes, out: Buffers) -> None:
    """Append a MESSAGE frame, its header joined to a small message only: a copy of a large one costs more."""
    if len(data) < JOIN_BELOW:
        out.append(writer.message(data))
    else:
        out += writer.pieces(MESSAGE, 0, [data])
