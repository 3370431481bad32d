"""An established session: everything that begins with two agreed tags and ends with them (rule G5)."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any, Final

from virtagent.errors import SessionLost
from virtagent.protocol.announcement import Agreement, Announcement
from virtagent.protocol.events import Pong
from virtagent.protocol.frames import (
    ABORT,
    ALIVE,
    BATCH,
    CREDIT,
    DATA,
    FRAGMENT,
    GOODBYE,
    MESSAGE,
    PING,
    PONG,
    RESET,
    FrameWriter,
    session_seed,
)
from virtagent.protocol.keepalive import Keepalive
from virtagent.protocol.limits import Limits
from virtagent.protocol.messages import MessageReader
from virtagent.protocol.reassembly import Reassembly, TooLong
from virtagent.protocol.schedule import Buffers, Scheduler
from virtagent.protocol.streams import MakeStream, StreamTable

__all__ = ["Session"]

FAST_BACKLOG: Final = 64 * 1024
"""Bytes handed out at a time on a fast channel (rule P7)."""

LINE_BACKLOG: Final = 0.01
"""Seconds of line time that may still wait below when the next frame is chosen (rule P7)."""

OPAQUE: Final = struct.Struct(">Q")


class Session:
    """What lives between one establishment and one loss.

    Args:
        tags: this side's tag and the peer's.
        announcement: what the peer announced.
        agreement: what holds.
        limits: what this side accepts.
        keepalive: signs of life.
        make_stream: the class of streams.
        flush_wanted: called when there is something to send that nothing received has caused.
        now: the time.

    Attributes:
        farewell: the payload of the goodbye that leaves when nothing else waits (rule G1), or None.
    """

    __slots__ = (
        "_line_free",
        "_line_rate",
        "_ping",
        "_ping_count",
        "_pong",
        "_reassembly",
        "agreement",
        "farewell",
        "keepalive",
        "peer",
        "scheduler",
        "streams",
        "writer",
    )

    def __init__(
        self,
        tags: tuple[int, int],
        announcement: Announcement,
        agreement: Agreement,
        *,
        limits: Limits,
        keepalive: Keepalive,
        make_stream: MakeStream,
        flush_wanted: Callable[[], None],
        now: float,
    ) -> None:
        tag, peer_tag = tags
        self.peer = announcement
        self.agreement = agreement
        self.keepalive = keepalive
        self.writer = FrameWriter(session_seed(tag, peer_tag), check_payload=agreement.check)
        self.scheduler = Scheduler(agreement.frame, limits.streams)
        self.streams = StreamTable(
            limits,
            peer_window=announcement.window,
            peer_streams=announcement.streams,
            odd=tag > peer_tag,
            scheduler=self.scheduler,
            make_stream=make_stream,
            flush_wanted=flush_wanted,
        )
        self._reassembly = Reassembly(limits)
        self._line_rate = agreement.line_rate
        self._line_free = now
        self._ping: tuple[int, float] | None = None
        self._ping_count = 0
        self._pong: bytes | None = None
        self.farewell: bytes | None = None

    # -- frames in -----------------------------------------------------------------------------------------------

    def receive(
        self, kind: int, stream: int, payload: memoryview, messages: MessageReader, now: float, events: list[Any]
    ) -> None:
        """A frame of this session, hello and goodbye excepted; kinds that are not known are ignored (rule F7).

        Raises:
            Violation: the peer broke the protocol.
        """
        base = kind & 15
        if base == MESSAGE:
            messages.receive(payload, now, events)
        elif base == BATCH:
            messages.receive_batch(payload, now, events)
        elif base in (DATA, CREDIT, RESET):
            self.streams.receive(kind, stream, payload)
        elif base == FRAGMENT:
            whole = self._reassembly.receive(kind, stream, payload)
            if isinstance(whole, TooLong):
                messages.refuse(whole, events)
            elif whole is not None:
                messages.receive(whole, now, events)
        elif base == ABORT:
            self._reassembly.abort(stream)
        elif base == PING:
            self._pong = bytes(payload[: OPAQUE.size])
        elif base == PONG:
            self._receive_pong(payload, now, events)

    def _receive_pong(self, payload: memoryview, now: float, events: list[Any]) -> None:
        if self._ping is not None and len(payload) == OPAQUE.size and OPAQUE.unpack(payload)[0] == self._ping[0]:
            events.append(Pong(now - self._ping[1]))
            self._ping = None

    # -- frames out ----------------------------------------------------------------------------------------------

    @property
    def has_data(self) -> bool:
        """Whether :meth:`emit` may have something (a slow line may still want to wait)."""
        return (
            self.scheduler.has_data or bool(self.streams.credits) or self._pong is not None or self.farewell is not None
        )

    def emit(self, now: float, out: Buffers) -> None:
        """Append what goes next: about 64 KiB, or 50 ms of line time (rule P7)."""
        if self._line_rate is not None and now < self._line_free - LINE_BACKLOG:
            return  # what waits is chosen late: one pong (rule K4), the newest credits
        if self._pong is not None:
            self.scheduler.control(PONG, 0, self._pong)
            self._pong = None
        if self.streams.credits:
            self.streams.emit_credits()
        if self._line_rate is None:
            self.scheduler.emit(self.writer, FAST_BACKLOG, now, out)
        else:
            self.scheduler.emit(self.writer, 1, now, out)
            self._line_free = max(now, self._line_free) + sum(map(len, out)) / self._line_rate
        if self.farewell is not None and not self.scheduler.has_data:
            out.append(self.writer.frame(GOODBYE, 0, self.farewell))
            self.farewell = None
        if out:
            self.keepalive.last_sent = now

    def next_timer(self) -> float:
        """When :meth:`emit` or :meth:`keep_alive` should be called next; ``math.inf``: never."""
        line = self._line_free - LINE_BACKLOG if self._line_rate is not None and self.has_data else math.inf
        return min(self.keepalive.next_timer(), line)

    # -- life ----------------------------------------------------------------------------------------------------

    def ping(self, now: float) -> bool:
        """Send a ping unless one is unanswered (rule K4)."""
        if self._ping is not None:
            return False
        self._ping_count += 1
        self._ping = (self._ping_count, now)
        self.scheduler.control(PING, 0, OPAQUE.pack(self._ping_count))
        return True

    def keep_alive(self, now: float) -> bool:
        """Send the sign of life that is due (rule K1); whether one was due."""
        if not self.keepalive.wants_to_send(now):
            return False
        if not self.scheduler.has_data:  # what waits is a sign of life too, and on a blocked channel one is enough
            self.scheduler.control(ALIVE, 0, b"")
        self.keepalive.last_sent = now
        return True

    def tidy(self) -> None:
        """Give back memory that only large messages need and none has needed lately; called now and then."""
        self._reassembly.tidy()

    def end(self, error: SessionLost) -> None:
        """The session is over (rule G5); its calls are the call table's to end."""
        self.streams.end_all(error)

    def statistics(self) -> dict[str, int]:
        """Counters of what was wrong, and sizes of what is open."""
        return {
            "streams": len(self.streams),
            "overruns": self.streams.overruns,
            "refused_streams": self.streams.refused,
            "refused_messages": self._reassembly.skipped + self._reassembly.broken,
            "waiting_messages": self.scheduler.waiting_messages,
        }
