"""Plain msgpack-RPC, as its specification has it: for peers in any language (docs/protocol.md, section X)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgpack

from virtagent.errors import SessionLost, UsageError
from virtagent.protocol.endpoint import Endpoint
from virtagent.protocol.events import SessionEnded
from virtagent.protocol.limits import Limits
from virtagent.protocol.rpc import DEFAULT_DEADLINE
from virtagent.protocol.schedule import Buffers, Outgoing

if TYPE_CHECKING:
    from virtagent.protocol.streams import Stream

__all__ = ["PlainConnection"]

RECEIVE_SIZE = 64 * 1024


class PlainConnection(Endpoint):
    """One side of a plain channel: it is up as long as the channel is.

    Args:
        limits: what this side accepts (rule X4).
        deadline: seconds of a call that states none; only this side can enforce it.
    """

    def __init__(self, *, limits: Limits | None = None, deadline: float = DEFAULT_DEADLINE) -> None:
        super().__init__(limits or Limits(), deadline=deadline)
        self.calls.begin(self._queue_message, DEFAULT_DEADLINE, self.limits.message)
        self.calls.with_metadata = False
        self._buffer = memoryview(bytearray(RECEIVE_SIZE))
        self._unpacker = self._codec.unpacker(self.limits.message + RECEIVE_SIZE)
        self._waiting: dict[Outgoing, None] = {}

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        return self._buffer

    @property
    def buffer_getter(self) -> Callable[[int], memoryview]:
        return self.get_buffer

    def received(self, count: int, now: float) -> list[Any]:
        return self.receive_data(self._buffer[:count], now)

    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> list[Any]:
        events: list[Any] = []
        if not self.up:
            return events
        try:
            for start in range(0, len(data), RECEIVE_SIZE):
                self._unpacker.feed(data[start : start + RECEIVE_SIZE])
                for message in self._unpacker:
                    self._receive_message(message, now, events)
        except Exception as error:  # whatever the decoder says of it, the peer's bytes are at fault
            self._end(SessionLost(f"the peer sent something that is not msgpack-RPC: {error}"), events)
            return events
        if self.calls.unsent_answers > self.calls.most_unsent_answers:
            self._end(SessionLost("the peer sends requests and reads no answers"), events)
        return events

    def _receive_message(self, message: Any, now: float, events: list[Any]) -> None:
        if type(message) is not list or len(message) not in (3, 4) or message[0] not in (0, 1, 2):
            raise ValueError("this is no message")
        self.calls.receive(message, now, None, events)

    def _end(self, error: SessionLost, events: list[Any]) -> None:
        if self.up:
            self.calls.end_all(error, events)
            self._waiting.clear()
            events.append(SessionEnded(error))

    @property
    def has_data(self) -> bool:
        return bool(self._waiting)

    def data_to_send(self, now: float) -> Buffers:
        waiting, self._waiting = self._waiting, {}
        out: Buffers = []
        for message in waiting:
            data = message.take(now) if message.late else message.data
            if data is not None:
                message.left()
                out.append(data)
        return out

    def handle_timer(self, now: float) -> list[Any]:
        events: list[Any] = []
        self.calls.handle_timer(now, events)
        self.next_timer_at = self.calls.next_deadline
        return events

    def channel_lost(self, now: float, reason: str) -> list[Any]:
        events: list[Any] = []
        self._end(SessionLost(reason), events)
        return events

    def goodbye(self, reason: str, message: str, now: float, *, patience: float = 10.0) -> bool:
        self.calls.draining = True
        return False

    def ping(self, now: float) -> bool:
        return False

    @property
    def silent(self) -> bool:
        return False

    def open_stream(self, flags: int, priority: int | None = None) -> tuple[Stream, msgpack.ExtType]:
        raise UsageError("plain msgpack-RPC has no streams (rule X3); connect without dialect=plain")

    def _discard(self, streams: list[Stream]) -> None:
        """There are none."""

    def _queue_message(self, priority: int, message: Outgoing) -> None:
        self._waiting[message] = None

    def _forget_message(self, priority: int, message: Outgoing) -> None:
        message.data = None
        self._waiting.pop(message, None)
