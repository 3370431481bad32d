"""What the framed and the plain side of a connection have in common: calling, notifying, answering."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from virtagent.errors import SessionLost, UsageError
from virtagent.protocol.announcement import Agreement, Announcement
from virtagent.protocol.codec import Codec
from virtagent.protocol.limits import MAX_METHOD_NAME, Limits
from virtagent.protocol.rpc import Call, CallTable, Request, check_outgoing_method
from virtagent.protocol.schedule import NORMAL, Buffers, Outgoing
from virtagent.protocol.streams import Stream

if TYPE_CHECKING:
    import msgpack

__all__ = ["Endpoint"]


class Endpoint(ABC):
    """One side of a connection, whatever its dialect.

    Attributes:
        up: a session is established: calls can be made.
        peer: what the peer announced, or None.
        agreement: what holds in the session, or None.
        calls: the open calls.
        limits: what this side accepts.
        more: :meth:`data_to_send` has more to give at once.
        next_timer_at: when :meth:`handle_timer` wants to be called; it may be early, never late.
        encode_special: makes an ext value of an object in a message that is not plain data, or raises TypeError.
    """

    def __init__(self, limits: Limits, *, deadline: float, decode_stream: Callable[[bytes], Any] | None = None) -> None:
        self.limits = limits
        self.up = False
        self.peer: Announcement | None = None
        self.agreement: Agreement | None = None
        self.more = False
        self.next_timer_at = math.inf
        self.encode_special: Callable[[Any], Any] | None = None
        self._opening: list[Stream] = []
        self._opening_class = NORMAL
        self._codec = Codec(self._encode_special, decode_stream)
        self.calls = CallTable(
            limits, self._codec, send=self._queue_message, forget=self._forget_message, deadline=deadline
        )

    # -- bytes and time ------------------------------------------------------------------------------------------

    @abstractmethod
    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Where to receive to; report with :meth:`received`."""

    @property
    @abstractmethod
    def buffer_getter(self) -> Callable[[int], memoryview]:
        """:meth:`get_buffer` of the channel at the moment, without the layers between."""

    @abstractmethod
    def received(self, count: int, now: float) -> list[Any]:
        """``count`` bytes were received to :meth:`get_buffer`; returns events."""

    @abstractmethod
    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> list[Any]:
        """Bytes were received elsewhere; they are copied. Returns events."""

    @property
    @abstractmethod
    def has_data(self) -> bool:
        """Whether :meth:`data_to_send` may have something."""

    @property
    @abstractmethod
    def is_drained(self) -> bool:
        """Nothing of ours waits: no message, no stream's data."""

    @abstractmethod
    def data_to_send(self, now: float) -> Buffers:
        """What goes to the channel next. Empty: nothing now."""

    @abstractmethod
    def handle_timer(self, now: float) -> list[Any]:
        """Do what is due; returns events. Too early a call does no harm."""

    @abstractmethod
    def channel_lost(self, now: float, reason: str) -> list[Any]:
        """The channel is gone, and with it the session; returns events."""

    @abstractmethod
    def goodbye(self, reason: str, message: str, now: float, *, patience: float = 10.0) -> bool:
        """Say goodbye; :class:`GoodbyeDone` follows. False where there is nothing to say it in (rule G1).

        Args:
            reason: one word for programs.
            message: one line for people.
            now: the time.
            patience: seconds in which what was queued before it must have left.
        """

    @abstractmethod
    def ping(self, now: float) -> bool:
        """Send a ping unless one is unanswered (rule K4); :class:`Pong` follows. False where it was not sent."""

    @property
    @abstractmethod
    def silent(self) -> bool:
        """The peer is silent (rule K2)."""

    # -- calls ---------------------------------------------------------------------------------------------------

    def call(
        self,
        method: str,
        params: Any,
        now: float,
        deadline: float | None = None,
        priority: int = NORMAL,
        metadata: dict[str, Any] | None = None,
    ) -> Call:
        """Issue a request; the call itself is the event of its end.

        Raises:
            UsageError: it cannot be sent.
            SessionLost: there is no session.
        """
        if not self.up or not 0 < len(method) <= MAX_METHOD_NAME // 4:  # longer ones are measured in bytes
            self._check_can_send(method)
        self._opening_class = priority
        try:
            call = self.calls.call(method, params, now, deadline, priority, metadata)
        except UsageError:
            self._discard_opening()
            raise
        if self._opening:
            call.streams, self._opening = self._opening, []
        if call.deadline < self.next_timer_at:
            self.next_timer_at = call.deadline
        return call

    def notify(
        self, method: str, params: Any, *, priority: int = NORMAL, metadata: dict[str, Any] | None = None
    ) -> None:
        """Send a notification.

        Raises:
            UsageError: it cannot be sent.
            SessionLost: there is no session.
        """
        self._check_can_send(method)
        self._opening_class = priority
        try:
            message = self.calls.notify(method, params, priority=priority, metadata=metadata)
        except UsageError:
            self._discard_opening()
            raise
        if self._opening:
            message.streams, self._opening = self._opening, []

    def respond(self, request: Request, result: Any = None, error: list[Any] | None = None) -> bool:
        """Answer a request; False if it has been answered, or its session is over.

        Raises:
            UsageError: the result cannot be sent; the request is still open.
        """
        self._opening_class = request.priority
        try:
            answered = self.calls.respond(request, result, error)
        except UsageError:
            self._discard_opening()
            raise
        if self._opening:
            request.opens, self._opening = self._opening, []
        return answered

    def _discard_opening(self) -> None:
        """The message that was being encoded will not be sent: neither will its streams open."""
        streams, self._opening = self._opening, []
        self._discard(streams)

    def cancel(self, call: Call) -> None:
        """Cancel a call (rules C7, C8)."""
        self.calls.cancel(call)

    def _check_can_send(self, method: str) -> None:
        check_outgoing_method(method)
        if not self.up:
            raise SessionLost("there is no session", may_have_run=False)

    # -- streams -------------------------------------------------------------------------------------------------

    @abstractmethod
    def open_stream(self, flags: int, priority: int | None = None) -> tuple[Stream, msgpack.ExtType]:
        """Open a stream while a message is being encoded (rule T1); it may send once that message has left.

        Args:
            flags: of the reference.
            priority: its class; None: bytes are bulk, items have the message's class (rule P1).

        Raises:
            UsageError: too many streams are open, or there can be none.
        """

    @abstractmethod
    def _discard(self, streams: list[Stream]) -> None:
        """Forget streams whose message will not be sent."""

    @abstractmethod
    def _queue_message(self, priority: int, message: Outgoing) -> None: ...

    @abstractmethod
    def _forget_message(self, priority: int, message: Outgoing) -> None: ...

    def _encode_special(self, value: Any) -> Any:
        if self.encode_special is not None:
            return self.encode_special(value)
        raise TypeError(f"{type(value).__name__} is not plain data")
