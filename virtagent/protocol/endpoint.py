"""What the framed and the plain side of a connection have in common: calling, notifying, answering."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from virtagent.protocol.announcement import Agreement, Announcement
from virtagent.protocol.codec import Codec
from virtagent.protocol.limits import Limits
from virtagent.protocol.rpc import CallTable
from virtagent.protocol.schedule import Buffers, Outgoing
from virtagent.protocol.streams import Stream

if TYPE_CHECKING:
    import msgpack

__all__ = ["Endpoint"]


class Endpoint(ABC):
    """One side of a connection, whatever its dialect.

    Attributes:
        peer: what the peer announced, or None.
        agreement: what holds in the session, or None.
        calls: the open calls.
        call, notify, respond, cancel: what the table of calls does (:class:`~virtagent.protocol.rpc.CallTable`).
        limits: what this side accepts.
        more: :meth:`data_to_send` has more to give at once.
        next_timer_at: when :meth:`handle_timer` wants to be called; it may be early, never late.
        encode_special: makes an ext value of an object in a message that is not plain data, or raises TypeError.
    """

    def __init__(self, limits: Limits, *, deadline: float, decode_stream: Callable[[bytes], Any] | None = None) -> None:
        self.limits = limits
        self.peer: Announcement | None = None
        self.agreement: Agreement | None = None
        self.more = False
        self.next_timer_at = math.inf
        self.encode_special: Callable[[Any], Any] | None = None
        self._codec = Codec(self._encode_special, decode_stream)
        self.calls = calls = CallTable(
            limits,
            self._codec,
            send=self._queue_message,
            forget=self._forget_message,
            wake_at=self._wake_at,
            discard=self._discard,
            deadline=deadline,
        )
        # Every call passes here, and a layer that only hands on would cost it.
        self.call = calls.call
        self.notify = calls.notify
        self.respond = calls.respond
        self.cancel = calls.cancel

    @property
    def up(self) -> bool:
        """A session is established: calls can be made."""
        return self.calls.up

    def _wake_at(self, deadline: float) -> None:
        if deadline < self.next_timer_at:
            self.next_timer_at = deadline

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
