"""One side of a connection, sans-I/O: bytes and ``now`` in, bytes and events out.

The four verbs: :meth:`Connection.received` with :meth:`Connection.receive` (bytes in, events out),
:meth:`Connection.data_to_send` (bytes out), :meth:`Connection.handle_timer` (time in, events out).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any, Protocol

import msgpack

from virtagent.errors import PeerGone, ResourceExhausted, SessionLost, UsageError
from virtagent.protocol.announcement import Announcement, Identity, agree
from virtagent.protocol.codec import is_well_formed, message_head
from virtagent.protocol.endpoint import Endpoint
from virtagent.protocol.events import GoodbyeDone, Liveness, Pong, SessionEnded, SessionUp, Trouble
from virtagent.protocol.frames import (
    ABORT,
    ALIVE,
    BATCH,
    CREDIT,
    DATA,
    FLAG_ACKNOWLEDGEMENT,
    FRAGMENT,
    FROM_CANDIDATE,
    GAP,
    GOODBYE,
    HELLO,
    MESSAGE,
    PING,
    PONG,
    RESET,
    FrameReader,
    FrameWriter,
    encode_hello_frame,
    session_seed,
)
from virtagent.protocol.hello import HEAD, Handshake, HelloHead, Outcome
from virtagent.protocol.keepalive import DEFAULT_INTERVAL, Keepalive
from virtagent.protocol.limits import Limits
from virtagent.protocol.reassembly import Reassembly, TooLong
from virtagent.protocol.rpc import DEFAULT_DEADLINE, reset_all
from virtagent.protocol.schedule import BULK, NORMAL, Buffers, Outgoing, Scheduler
from virtagent.protocol.streams import ITEMS, MakeStream, Stream, StreamTable

__all__ = ["ChannelFacts", "Connection"]

GOODBYE_TIMEOUT = 2.0
"""Seconds to wait for a goodbye's acknowledgement (rule G3)."""

QUIET_AFTER_GOODBYE = 2.0
"""Seconds before the first hello after a goodbye (rule H10)."""

PROBE_INTERVAL = 1.0
"""Seconds between two probes for noise: a noisy line is not made worse (section H)."""

FRAME_OVERHEAD = 20

FIRST_PAD = 2048 + FRAME_OVERHEAD
"""Bytes of pad before the second hello: a whole frame of the slowest channel (rule H11)."""

LARGEST_PAD = 64 * 1024 + FRAME_OVERHEAD
"""Bytes of pad before the third: a whole frame of the fastest channel that may hold stale bytes (rule H11)."""

FAST_BACKLOG = 64 * 1024
"""Bytes handed out at a time on a fast channel (rule P7)."""

LINE_BACKLOG = 0.01
"""Seconds of line time that may still wait below when the next frame is chosen (rule P7)."""

ECHOES_BEFORE_TROUBLE = 3

OPAQUE = struct.Struct(">Q")


class ChannelFacts(Protocol):
    """What the core must know of a channel; the transports' facts have these attributes."""

    @property
    def scheme(self) -> str: ...
    @property
    def lossless(self) -> bool: ...
    @property
    def stale(self) -> bool: ...
    @property
    def speaks_first(self) -> bool: ...
    @property
    def line_rate(self) -> int | None: ...
    @property
    def exclusive(self) -> bool: ...


class Connection(Endpoint):
    """One side, over one channel after another.

    Args:
        identity: who this side says it is.
        draw: gives so many random bits from the kernel (for tags: 32, for the instance: 64).
        now: the time.
        limits: what this side accepts; None: by the channel's class.
        keepalive: seconds that this side promises at most to stay quiet (rule K1).
        deadline: seconds of a call that states none (rule D1).
        lost_after: seconds of silence after which the session is given up; None: never (rule K5).
        make_stream: the class of streams.
        flush_wanted: called when there is something to send that was not caused by :meth:`receive`.

    Attributes:
        streams: the streams of the session, or None.
        violations: sessions ended because the peer broke the protocol (rule G4).
    """

    def __init__(
        self,
        identity: Identity,
        *,
        draw: Callable[[int], int],
        now: float,
        limits: Limits | None = None,
        keepalive: float = DEFAULT_INTERVAL,
        deadline: float = DEFAULT_DEADLINE,
        lost_after: float | None = None,
        make_stream: MakeStream = Stream,
        flush_wanted: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(limits or Limits(), deadline=deadline, decode_stream=self._decode_stream)
        self.identity = identity
        self._draw = draw
        self._given_limits = limits
        self._keepalive_interval = keepalive
        self._deadline = deadline
        self._lost_after = lost_after
        self._make_stream = make_stream
        self._flush_wanted = flush_wanted
        self._accepting: list[Stream] = []
        self._references: list[Any] = []
        self._unpack = self._codec.unpack
        self._facts: ChannelFacts | None = None
        self._reader = FrameReader(self.limits.frame)
        self._handshake: Handshake | None = None
        self._mine: Announcement | None = None
        self._heard: Announcement | None = None
        self._writer: FrameWriter | None = None
        self._scheduler = Scheduler(self.limits.frame)
        self.streams: StreamTable | None = None
        self._reassembly = Reassembly(self.limits)
        self._keepalive: Keepalive | None = None
        self._outbox: list[bytes] = []
        self._may_speak = False
        self._may_be_stale = False
        self._closed = False
        self._goodbye_at = math.inf
        self._line_free = now
        self._noise_seen = 0
        self._probe_at = -math.inf
        self._ping: tuple[int, float] | None = None
        self._ping_count = 0
        self._echo_told = False
        self.violations = 0

    # -- the channel ---------------------------------------------------------------------------------------------

    def channel_made(self, facts: ChannelFacts, *, connecting: bool, now: float) -> None:
        """A channel is there. ``connecting``: this side made it, so it speaks first on every kind of channel."""
        self._facts = facts
        limits = self._given_limits or Limits.for_channel(
            stale=facts.stale, lossless=facts.lossless, line_rate=facts.line_rate
        )
        self.limits = limits.with_line_rate(facts.line_rate)
        self.calls.limits = self.limits
        self._reader = FrameReader(self.limits.frame)
        self._noise_seen = 0
        self._handshake = Handshake(lambda: self._draw(32), self._draw(64), now)
        self._mine = Announcement.of_limits(
            self.identity,
            self.limits,
            keepalive=self._keepalive_interval,
            deadline=0.0 if self._deadline == math.inf else self._deadline,
            check=facts.stale or not facts.lossless,
            line_rate=facts.line_rate,
            exclusive=facts.exclusive,
        )
        self._closed = False
        self._may_speak = connecting or facts.speaks_first
        self._may_be_stale = facts.stale or (connecting and facts.scheme == "unix")
        self._outbox.clear()
        self._echo_told = False
        self._line_free = now
        self._schedule()

    def channel_lost(self, now: float, reason: str) -> list[Any]:
        """The channel is gone, and with it the session."""
        events: list[Any] = []
        if self._goodbye_at != math.inf:
            self._goodbye_at = math.inf
            events.append(GoodbyeDone(acknowledged=False))
        self._end_session(SessionLost(reason), now, events)
        self._handshake = None
        self._facts = None
        self._outbox.clear()
        self._schedule()
        return events

    # -- bytes in ------------------------------------------------------------------------------------------------

    def get_buffer(self) -> memoryview:
        """Where to receive to; report with :meth:`received`."""
        return self._reader.get_buffer()

    def received(self, count: int, now: float) -> list[Any]:
        """``count`` bytes were received to :meth:`get_buffer`; returns events."""
        self._reader.received(count)
        return self.receive(now)

    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> list[Any]:
        """Bytes were received elsewhere; they are copied. Returns events."""
        events: list[Any] = []
        view = memoryview(data)
        while view:
            view = view[self._reader.feed(view) :]
            events += self.receive(now)
        return events

    def receive(self, now: float) -> list[Any]:
        """Work through what was received: all frames first, so that a cancel behind its request wins (rule C7)."""
        events: list[Any] = []
        self._may_speak = True
        next_frame = self._reader.next_frame
        frame = next_frame()
        if frame is not None and self._keepalive is not None and self._keepalive.received(now):
            events.append(Liveness(silent=False))
        while frame is not None:
            kind, stream, payload = frame
            if kind == MESSAGE:
                self._receive_message(payload, now, events)
            elif kind == BATCH:
                self._receive_batch(payload, now, events)
            else:
                self._receive_frame(kind, stream, payload, now, events)
            frame = next_frame()
        if self._reader.noise != self._noise_seen:
            self._receive_noise(now)
        if self.calls.is_flooded:
            self._violation("it sends requests and reads no answers", now, events)
        if self.calls.next_deadline < self.next_timer_at:
            self.next_timer_at = self.calls.next_deadline
        return events

    def _receive_message(self, payload: bytes | bytearray | memoryview, now: float, events: list[Any]) -> None:
        try:
            message = self._unpack(payload)
        except Exception:  # whatever the decoder says of it, it is the peer's message that is at fault
            self._receive_unacceptable([bytes(payload)], now, events)
            return
        streams: list[Stream] | None = None
        if self._accepting:
            streams, self._accepting = self._accepting, []
            self._references.clear()
        self.calls.receive(message, now, streams, events)

    def _receive_batch(self, payload: memoryview, now: float, events: list[Any]) -> None:
        try:
            messages = self._unpack(payload)
        except Exception:
            self._receive_unacceptable_batch(bytes(payload), now, events)
            return
        if type(messages) is not list:
            self._violation("a batch is an array", now, events)
            return
        accepted, self._accepting = self._accepting, []
        references, self._references = self._references, []
        for message in messages:
            streams = streams_in(message, accepted, references) if accepted else None
            self.calls.receive(message, now, streams, events)

    def _receive_unacceptable_batch(self, payload: bytes, now: float, events: list[Any]) -> None:
        """Split a batch so that one bad message costs that message only."""
        reset_all(self._accepting)
        self._accepting = []
        self._references.clear()
        unpacker = msgpack.Unpacker(max_buffer_size=len(payload) + 1)
        unpacker.feed(payload)
        try:
            count = unpacker.read_array_header()
        except (ValueError, msgpack.OutOfData, msgpack.StackError):
            self._violation("a batch is an array", now, events)
            return
        start = unpacker.tell()
        ends = is_well_formed(payload[start:], count)
        if ends is None:
            self._violation("a frame with something that is not msgpack", now, events)
            return
        position = start
        for end in ends:
            self._receive_message(payload[position : start + end], now, events)
            position = start + end

    def _receive_unacceptable(self, messages: list[bytes], now: float, events: list[Any]) -> None:
        """A message that the decoder refused: valid msgpack costs the message (rule C2), else the session (rule V8)."""
        reset_all(self._accepting)
        self._accepting = []
        self._references.clear()
        for payload in messages:
            if is_well_formed(payload) is None:
                self._violation("a frame with something that is not msgpack", now, events)
                return
            self.calls.malformed += 1
            self._refuse(payload, 19, "a value that is not acceptable (docs/protocol.md, section V)", events)

    def _refuse(self, payload: bytes | bytearray | memoryview, code: int, text: str, events: list[Any]) -> None:
        self._refuse_head(message_head(payload), code, text, events)

    def _refuse_head(self, head: tuple[int, int | None] | None, code: int, text: str, events: list[Any]) -> None:
        if head is None or head[1] is None:
            return
        if head[0] == 0:
            self.calls.refuse(head[1], code, text)
        elif head[0] == 1:
            self.calls.fail(head[1], ResourceExhausted(text, code=code), events)

    def _receive_frame(self, kind: int, stream: int, payload: memoryview, now: float, events: list[Any]) -> None:
        if kind & FROM_CANDIDATE:
            self._receive_confirmation(kind & ~FROM_CANDIDATE, stream, payload, now, events)
            return
        if kind == GAP:
            self._end_session(
                SessionLost("frames are missing or repeated: the channel was damaged or rewound"), now, events
            )
            return
        base = kind & 15
        if base == HELLO:
            self._receive_hello(payload, now, events)
        elif base in (DATA, CREDIT, RESET):
            if self.streams is not None:
                self.streams.receive(kind, stream, payload)
        elif base in (MESSAGE, BATCH):
            (self._receive_message if base == MESSAGE else self._receive_batch)(payload, now, events)
        elif base == FRAGMENT:
            self._receive_fragment(kind, stream, payload, now, events)
        elif base == ABORT:
            self._reassembly.abort(stream)
        elif base == PING:
            self._scheduler.control(PONG, 0, bytes(payload[:8]))
        elif base == PONG:
            self._receive_pong(payload, now, events)
        elif base == GOODBYE:
            self._receive_goodbye(kind, payload, now, events)

    def _receive_fragment(self, kind: int, stream: int, payload: memoryview, now: float, events: list[Any]) -> None:
        message = self._reassembly.receive(kind, stream, payload)
        if isinstance(message, TooLong):
            self._refuse_head(message.head, ResourceExhausted.code, message.reason, events)
        elif message is not None:
            self._receive_message(message, now, events)

    def _receive_pong(self, payload: memoryview, now: float, events: list[Any]) -> None:
        if self._ping is not None and len(payload) == OPAQUE.size and OPAQUE.unpack(payload)[0] == self._ping[0]:
            events.append(Pong(now - self._ping[1]))
            self._ping = None

    def _receive_noise(self, now: float) -> None:
        self._noise_seen = self._reader.noise
        if self.up and self._handshake is not None and now - self._probe_at >= PROBE_INTERVAL:
            self._probe_at = now
            self._handshake.probe(now)

    def _violation(self, what: str, now: float, events: list[Any]) -> None:
        self.violations += 1
        self._end_session(SessionLost(f"the peer broke the protocol: {what}"), now, events)

    # -- the session ---------------------------------------------------------------------------------------------

    def _receive_hello(self, payload: memoryview, now: float, events: list[Any]) -> None:
        handshake, mine = self._handshake, self._mine
        head = HelloHead.unpack(payload)
        announcement = Announcement.unpack(payload[HEAD.size :]) if head is not None else None
        if handshake is None or mine is None or head is None or announcement is None:
            return
        if self._closed:
            return
        if agree(mine, announcement) is None:
            theirs = ", ".join(map(str, announcement.versions))
            ours = ", ".join(map(str, mine.versions))
            text = f"the peer speaks protocol version {theirs}, this side {ours}: update the older one"
            events.append(Trouble("version", text))
            return
        outcome = handshake.receive(head, now)
        if outcome in (Outcome.ESTABLISHED, Outcome.REPLACED):
            self._begin_session(outcome, announcement, now, events)
        elif outcome is Outcome.HEARD:
            self._heard = announcement
            self._expect_candidate()
        elif outcome is Outcome.ECHO and handshake.echoes >= ECHOES_BEFORE_TROUBLE and not self._echo_told:
            self._echo_told = True
            events.append(Trouble("echo", "the line echoes: the tty is not raw, or there is a loop-back"))
        self._schedule()

    def _expect_candidate(self) -> None:
        """Accept frame 0 of the establishment in progress as its confirmation (rule H5)."""
        handshake, heard = self._handshake, self._heard
        if handshake is None or heard is None or self._mine is None:
            return
        tags = handshake.candidate if handshake.up else (handshake.tag, handshake.peer_tag)
        agreement = agree(self._mine, heard)
        if tags is not None and agreement is not None:
            self._reader.expect_candidate(session_seed(tags[1], tags[0]), check_payload=agreement.check)

    def _receive_confirmation(self, kind: int, stream: int, payload: memoryview, now: float, events: list[Any]) -> None:
        if self._handshake is None or self._heard is None:
            return
        outcome = self._handshake.confirm(candidate=self.up)
        if outcome is Outcome.NOTHING:
            return
        self._begin_session(outcome, self._heard, now, events, expected=1)
        self._receive_frame(kind, stream, payload, now, events)

    def _begin_session(
        self, outcome: Outcome, announcement: Announcement, now: float, events: list[Any], *, expected: int = 0
    ) -> None:
        handshake, mine = self._handshake, self._mine
        agreement = agree(mine, announcement) if mine is not None else None
        if handshake is None or agreement is None:
            return
        if outcome is Outcome.REPLACED:
            self._drop_session(SessionLost("the peer began a new session: it was restarted or restored"), events)
        tag, peer_tag = handshake.tag, handshake.peer_tag
        self.up = True
        self.peer = announcement
        self.agreement = agreement
        self._heard = None
        self._reader.limit = agreement.frame
        self._reader.begin(session_seed(peer_tag, tag), check_payload=agreement.check, expected=expected)
        self._writer = FrameWriter(session_seed(tag, peer_tag), check_payload=agreement.check)
        self._scheduler = Scheduler(agreement.frame)
        self._reassembly = Reassembly(self.limits)
        self.streams = StreamTable(
            self.limits,
            peer_window=announcement.window,
            peer_streams=announcement.streams,
            odd=tag > peer_tag,
            scheduler=self._scheduler,
            make_stream=self._make_stream,
            flush_wanted=self._flush_wanted,
        )
        self._keepalive = Keepalive(self._keepalive_interval, announcement.keepalive, now, lost_after=self._lost_after)
        self.calls.peer_deadline = announcement.deadline or math.inf
        self.calls.message_limit = announcement.message
        self.calls.draining = False
        events.append(SessionUp(announcement, agreement))
        self._schedule()

    def _end_session(self, error: SessionLost, now: float, events: list[Any], *, quiet: float = 0.0) -> None:
        self._drop_session(error, events)
        if self._handshake is not None:
            self._handshake.leave(now, quiet=quiet)
        self._reader.leave()
        self._reader.limit = self.limits.frame
        self._heard = None
        self._schedule()

    def _drop_session(self, error: SessionLost, events: list[Any]) -> None:
        if not self.up:
            return
        self.up = False
        self._writer = None
        self._keepalive = None
        self._ping = None
        self.calls.end_all(error, events)
        if self.streams is not None:
            self.streams.end_all(error)
            self.streams = None
        self._scheduler = Scheduler(self.limits.frame)
        if self._goodbye_at != math.inf:
            self._goodbye_at = math.inf
            events.append(GoodbyeDone(acknowledged=isinstance(error, PeerGone)))
        events.append(SessionEnded(error))

    def statistics(self) -> dict[str, int]:
        """Counters of what was wrong, and sizes of what is open."""
        return {
            "noise": self._reader.noise,
            "pad": self._reader.pad,
            "bad_payloads": self._reader.bad_payloads,
            "violations": self.violations,
            "streams": len(self.streams) if self.streams is not None else 0,
            "overruns": self.streams.overruns if self.streams is not None else 0,
            "refused_streams": self.streams.refused if self.streams is not None else 0,
            "refused_messages": self._reassembly.skipped + self._reassembly.broken,
            "waiting_messages": self._scheduler.waiting_messages,
            "echoes": self._handshake.echoes if self._handshake is not None else 0,
        }

    # -- goodbye -------------------------------------------------------------------------------------------------

    def goodbye(self, reason: str, message: str, now: float) -> bool:
        """Say goodbye; :class:`GoodbyeDone` follows. False where there is no session to say it in (rule G1)."""
        if not self.up or self._writer is None:
            return False
        self.calls.draining = True
        content = {"reason": reason[:64], "message": message[:128]}
        self._scheduler.control(GOODBYE, 0, msgpack.packb(content, unicode_errors="surrogateescape"))
        self._goodbye_at = now + GOODBYE_TIMEOUT
        self._schedule()
        return True

    def _close(self, now: float, events: list[Any]) -> None:
        """Our goodbye is done: this side speaks no more on this channel (rule G3)."""
        self._closed = True
        self._end_session(SessionLost("this side said goodbye"), now, events, quiet=math.inf)

    def _receive_goodbye(self, kind: int, payload: memoryview, now: float, events: list[Any]) -> None:
        if kind & FLAG_ACKNOWLEDGEMENT:
            if self._goodbye_at != math.inf:
                self._goodbye_at = math.inf
                events.append(GoodbyeDone(acknowledged=True))
                self._close(now, events)
            return
        if self._writer is not None:
            self._outbox.append(self._writer.frame(GOODBYE | FLAG_ACKNOWLEDGEMENT, 0, b""))
        reason, message = decode_goodbye(payload)
        text = f"the peer said goodbye: {message or reason}"
        self._end_session(PeerGone(text, reason=reason), now, events, quiet=QUIET_AFTER_GOODBYE)

    # -- bytes out -----------------------------------------------------------------------------------------------

    @property
    def has_data(self) -> bool:
        """Whether :meth:`data_to_send` may have something (a slow line may still want to wait)."""
        if self._outbox or self._scheduler.has_data:
            return True
        if self._handshake is not None and self._handshake.due and self._may_speak and not self._closed:
            return True
        return self.streams is not None and self.streams.has_credits

    @property
    def is_drained(self) -> bool:
        """Nothing of ours waits: no message, no stream's data."""
        return not self._scheduler.has_data

    def data_to_send(self, now: float) -> Buffers:
        """What goes to the channel next: about 64 KiB, or 50 ms of line time (rule P7). Empty: nothing now."""
        out: Buffers = []
        if self._outbox:
            out += self._outbox
            self._outbox.clear()
        if self._handshake is not None and self._handshake.due and self._may_speak and not self._closed:
            self._emit_hello(self._handshake, now, out)
        if self._writer is None:
            return out
        if self.streams is not None and self.streams.has_credits:
            self.streams.emit_credits()
        if self._scheduler.has_data:
            self._emit_frames(self._writer, now, out)
        if out and self._keepalive is not None:
            self._keepalive.last_sent = now
        return out

    def _emit_frames(self, writer: FrameWriter, now: float, out: Buffers) -> None:
        rate = self.agreement.line_rate if self.agreement is not None else None
        if rate is None:
            self._scheduler.emit(writer, FAST_BACKLOG, now, out)
            return
        ready_at = self._line_free - LINE_BACKLOG
        if now >= ready_at:
            sent = self._scheduler.emit(writer, 1, now, out)
            self._line_free = max(now, self._line_free) + sent / rate
            ready_at = self._line_free - LINE_BACKLOG
        if self._scheduler.has_data and ready_at < self.next_timer_at:
            self.next_timer_at = ready_at

    def _emit_hello(self, handshake: Handshake, now: float, out: Buffers) -> None:
        mine = self._mine
        if mine is None:
            return
        if not handshake.up and self._may_be_stale and handshake.unanswered in (1, 2):
            most = FIRST_PAD if handshake.unanswered == 1 else LARGEST_PAD
            out.append(bytes(min(most, self.limits.frame + FRAME_OVERHEAD)))
        out.append(encode_hello_frame(handshake.to_send(now).pack() + mine.pack()))
        self._schedule()

    # -- time ----------------------------------------------------------------------------------------------------

    def handle_timer(self, now: float) -> list[Any]:
        """Do what is due; returns events. Too early a call does no harm."""
        events: list[Any] = []
        if self._handshake is not None:
            self._handshake.handle_timer(now)
        self.calls.handle_timer(now, events)
        if self._keepalive is not None:
            self._keep_alive(self._keepalive, now, events)
        if now >= self._goodbye_at:
            self._goodbye_at = math.inf
            events.append(GoodbyeDone(acknowledged=False))
            self._close(now, events)
        self._schedule()
        return events

    def _keep_alive(self, keepalive: Keepalive, now: float, events: list[Any]) -> None:
        turned_silent = keepalive.judge(now)
        if turned_silent:
            events.append(Liveness(silent=True))
        if keepalive.is_lost(now):
            self._end_session(SessionLost("the peer has been silent for too long"), now, events)
            return
        if turned_silent or (keepalive.silent and keepalive.wants_to_send(now)):
            if self._handshake is not None:
                self._handshake.probe(now)
            self.ping(now)
        if keepalive.wants_to_send(now):
            self._scheduler.control(ALIVE, 0, b"")
            keepalive.last_sent = now

    def _schedule(self) -> None:
        """Compute the next timer anew."""
        at = min(self.calls.next_deadline, self._goodbye_at)
        if self._handshake is not None:
            at = min(at, self._handshake.next_timer() or math.inf)
        if self._keepalive is not None:
            at = min(at, self._keepalive.next_timer())
        if self._scheduler.has_data and self.agreement is not None and self.agreement.line_rate is not None:
            at = min(at, self._line_free - LINE_BACKLOG)
        self.next_timer_at = at

    # -- calls and streams ---------------------------------------------------------------------------------------

    @property
    def silent(self) -> bool:
        """The peer is silent (rule K2)."""
        return self._keepalive is not None and self._keepalive.silent

    def ping(self, now: float) -> bool:
        """Send a ping unless one is unanswered (rule K4); :class:`Pong` follows."""
        if not self.up or self._ping is not None:
            return False
        self._ping_count += 1
        self._ping = (self._ping_count, now)
        self._scheduler.control(PING, 0, OPAQUE.pack(self._ping_count))
        return True

    def open_stream(self, flags: int, priority: int | None = None) -> tuple[Stream, msgpack.ExtType]:
        if self.streams is None:
            raise UsageError("there is no session to open a stream in")
        if priority is None:
            priority = NORMAL if flags & ITEMS else BULK
        stream, reference = self.streams.open(flags, priority)
        self._opening.append(stream)
        return stream, reference

    def _discard(self, streams: list[Stream]) -> None:
        for stream in streams:
            if self.streams is not None:
                self.streams.discard(stream)

    def _queue_message(self, priority: int, message: Outgoing) -> None:
        self._scheduler.message(priority, message)

    def _forget_message(self, priority: int, message: Outgoing) -> None:
        self._scheduler.forget(priority, message)

    def _decode_stream(self, data: bytes) -> Any:
        if self.streams is None:
            raise ValueError("a stream outside a session")
        stream = self.streams.accept(data, NORMAL if len(data) == 5 and data[4] & ITEMS else BULK)
        self._accepting.append(stream)
        reference = stream.reference()
        self._references.append(reference)
        return reference


def streams_in(message: Any, accepted: list[Stream], references: list[Any]) -> list[Stream] | None:
    """The streams of a batch that belong to one of its messages."""
    found = set()
    waiting = [message]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
        else:
            found.add(id(value))
    return [stream for stream, reference in zip(accepted, references, strict=True) if id(reference) in found] or None


def decode_goodbye(payload: memoryview) -> tuple[str, str]:
    """The reason and message of a goodbye; whatever the peer sent gives some."""
    try:
        content = msgpack.unpackb(payload, unicode_errors="surrogateescape") if payload else {}
    except (ValueError, msgpack.StackError):
        content = {}
    if not isinstance(content, dict):
        content = {}
    reason, message = content.get("reason", ""), content.get("message", "")
    return (reason if isinstance(reason, str) else "")[:64] or "unknown", (message if isinstance(message, str) else "")[
        :128
    ]
