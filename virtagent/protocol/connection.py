"""One side of a framed connection, sans-I/O: bytes and ``now`` in, bytes and events out.

The four verbs: :meth:`Connection.received` (bytes in, events out), :meth:`Connection.data_to_send` (bytes out),
:meth:`Connection.handle_timer` (time in, events out), :meth:`Connection.channel_made` and its opposite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import msgpack

from virtagent.errors import PeerGone, SessionLost, UsageError
from virtagent.protocol.announcement import Agreement, Announcement, Identity, agree
from virtagent.protocol.channel import ChannelFacts
from virtagent.protocol.endpoint import Endpoint
from virtagent.protocol.events import GoodbyeDone, Liveness, SessionEnded, SessionUp, Trouble
from virtagent.protocol.frames import (
    FLAG_ACKNOWLEDGEMENT,
    FROM_CANDIDATE,
    GAP,
    GOODBYE,
    HELLO,
    MESSAGE,
    FrameReader,
    encode_hello_frame,
    session_seed,
)
from virtagent.protocol.goodbye import decode_goodbye, encode_goodbye
from virtagent.protocol.hello import HEAD, Handshake, HelloHead, Outcome
from virtagent.protocol.keepalive import DEFAULT_INTERVAL, Keepalive
from virtagent.protocol.limits import SOCKET, Limits
from virtagent.protocol.messages import MessageReader, Violation
from virtagent.protocol.rpc import DEFAULT_DEADLINE
from virtagent.protocol.schedule import BULK, Buffers, Outgoing
from virtagent.protocol.session import Session
from virtagent.protocol.streams import ITEMS, MakeStream, Stream, StreamTable

__all__ = ["Connection"]

GOODBYE_TIMEOUT: Final = 2.0
"""Seconds to wait for a goodbye's acknowledgement (rule G3)."""

QUIET_AFTER_GOODBYE: Final = 2.0
"""Seconds before the first hello after a goodbye (rule H10)."""

PROBE_INTERVAL: Final = 1.0
"""Seconds between two probes for noise: a noisy line is not made worse (section H)."""

FRAME_OVERHEAD: Final = 20

FIRST_PAD: Final = 2048 + FRAME_OVERHEAD
"""Bytes of pad before the second hello: a whole frame of the slowest channel (rule H11)."""

LARGEST_PAD: Final = 64 * 1024 + FRAME_OVERHEAD
"""Bytes of pad before the third: a whole frame of the fastest channel that may hold stale bytes (rule H11)."""

ECHOES_BEFORE_TROUBLE: Final = 3


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
        super().__init__(limits or SOCKET, deadline=deadline, decode_stream=self._decode_stream)
        self.identity = identity
        self._draw = draw
        self._given_limits = limits
        self._keepalive_interval = keepalive
        self._deadline = deadline
        self._lost_after = lost_after
        self._make_stream = make_stream
        self._flush_wanted = flush_wanted
        self._messages = MessageReader(self._codec, self.calls, self._refuse_stream)
        self._reader = FrameReader(self.limits.frame)
        self._reader_used = False
        self._handshake: Handshake | None = None
        self._mine: Announcement | None = None
        self._agreed_with: Announcement | None = None
        self._agreed: Agreement | None = None
        self._heard: Announcement | None = None
        self._session: Session | None = None
        self._outbox: list[bytes] = []
        self._calm = False  # only messages can have to be sent: the short ways are right
        self._may_speak = False
        self._may_be_stale = False
        self._closed = False
        self._goodbye_at = math.inf
        self._noise_seen = 0
        self._probe_at = -math.inf
        self._echo_told = False
        self.violations = 0

    # -- the channel ---------------------------------------------------------------------------------------------

    def channel_made(self, facts: ChannelFacts, *, connecting: bool, now: float) -> None:
        """A channel is there. ``connecting``: this side made it, so it speaks first on every kind of channel."""
        limits = self._given_limits or Limits.for_channel(
            stale=facts.stale, lossless=facts.lossless, line_rate=facts.line_rate
        )
        self.limits = limits.with_line_rate(facts.line_rate)
        self.calls.set_limits(self.limits)
        if self._reader_used:
            self._reader = FrameReader(self.limits.frame)
        self._reader.limit = self.limits.frame
        self._reader_used = True
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
        self._agreed_with = None
        self._closed = False
        self._may_speak = connecting or facts.speaks_first
        self._may_be_stale = facts.stale or (connecting and facts.scheme == "unix")
        self._outbox.clear()
        self._echo_told = False
        self._schedule()

    def channel_lost(self, now: float, reason: str) -> list[Any]:
        """The channel is gone, and with it the session."""
        events: list[Any] = []
        if self._goodbye_at != math.inf:
            self._goodbye_at = math.inf
            events.append(GoodbyeDone(acknowledged=False))
        self._handshake = None  # before the end: no tag is drawn for nothing
        self._end_session(SessionLost(reason), now, events)
        self._outbox.clear()
        self._schedule()
        return events

    # -- bytes in ------------------------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        return self._reader.get_buffer()

    @property
    def buffer_getter(self) -> Callable[[int], memoryview]:
        return self._reader.get_buffer

    def received(self, count: int, now: float) -> list[Any]:
        reader = self._reader
        reader.end += count
        session = self._session
        if not self._calm or session is None or (payload := reader.only_message()) is None:
            return self._receive(now)
        # One ordinary message and nothing else, as most reads are: the short way of _receive().
        events: list[Any] = []
        calls = self.calls
        keepalive = session.keepalive
        keepalive.last_received = now
        if keepalive.silent:
            keepalive.silent = False
            events.append(Liveness(silent=False))
        try:
            self._messages.receive(payload, now, events)
        except Violation as violation:
            self._receive_after(violation, now, events)
        if calls.unsent_answers > calls.most_unsent_answers:
            self._receive_after(Violation("it sends requests and reads no answers"), now, events)
        return events

    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> list[Any]:
        events: list[Any] = []
        view = memoryview(data)
        while view:
            taken = self._reader.feed(view)  # not inside the slice: mypyc would feed twice
            view = view[taken:]
            events += self._receive(now)
        return events

    def _receive(self, now: float) -> list[Any]:
        """Work through what was received: all frames first, so that a cancel behind its request wins (rule C7)."""
        events: list[Any] = []
        self._may_speak = True
        try:
            self._receive_frames(now, events)
        except Violation as violation:
            self._receive_after(violation, now, events)
        if self._reader.noise != self._noise_seen:
            self._receive_noise(now)
        return events

    def _receive_after(self, violation: Violation, now: float, events: list[Any]) -> None:
        """The rest of what was received, after the session has ended: the hello of a new one may be in it."""
        while True:
            self.violations += 1
            self._end_session(SessionLost(f"the peer broke the protocol: {violation}"), now, events)
            try:
                self._receive_frames(now, events)
            except Violation as another:
                violation = another
            else:
                return

    def _receive_frames(self, now: float, events: list[Any]) -> None:
        reader = self._reader
        while (frame := reader.next_frame()) is not None:
            kind, stream, payload = frame
            session = self._session
            if kind != MESSAGE:
                self._calm = False
                if session is None or kind == GAP or kind & FROM_CANDIDATE or kind & 15 <= GOODBYE:
                    self._receive_other(kind, stream, payload, now, events)
                    continue
            elif session is None:
                continue
            keepalive = session.keepalive
            keepalive.last_received = now
            if keepalive.silent:
                keepalive.silent = False
                events.append(Liveness(silent=False))
            if kind == MESSAGE:
                self._messages.receive(payload, now, events)
            else:
                session.receive(kind, stream, payload, self._messages, now, events)
            if reader.start == reader.end:
                break
        session = self._session
        if session is not None and session.scheduler.is_flooded:
            raise Violation("it provokes answers and reads none")
        if self.calls.unsent_answers > self.calls.most_unsent_answers:
            raise Violation("it sends requests and reads no answers")

    def _receive_other(self, kind: int, stream: int, payload: memoryview, now: float, events: list[Any]) -> None:
        """What is not an ordinary frame of the session."""
        if kind == GAP:
            lost = SessionLost("frames are missing or repeated: the channel was damaged or rewound")
            self._end_session(lost, now, events)
        elif kind & FROM_CANDIDATE:
            self._receive_confirmation(kind & ~FROM_CANDIDATE, stream, payload, now, events)
        elif kind & 15 == HELLO:
            self._receive_hello(payload, now, events)
        elif kind & 15 == GOODBYE:
            self._receive_goodbye(kind, payload, now, events)

    def _receive_noise(self, now: float) -> None:
        self._noise_seen = self._reader.noise
        self._calm = False
        if self.up and self._handshake is not None and now - self._probe_at >= PROBE_INTERVAL:
            self._probe_at = now
            self._handshake.probe(now)

    # -- the session ---------------------------------------------------------------------------------------------

    def _receive_hello(self, payload: memoryview, now: float, events: list[Any]) -> None:
        handshake, mine = self._handshake, self._mine
        head = HelloHead.unpack(payload)
        announcement = Announcement.unpack(payload[HEAD.size :]) if head is not None else None
        if handshake is None or mine is None or head is None or announcement is None or self._closed:
            return
        if self._agree(announcement) is None:
            theirs = ", ".join(map(str, announcement.versions))
            ours = ", ".join(map(str, mine.versions))
            text = f"the peer speaks protocol version {theirs}, this side {ours}: update the older one"
            events.append(Trouble("version", text))
            return
        if self._session is not None and head.tag == handshake.peer_tag and self._session.keepalive.received(now):
            events.append(Liveness(silent=False))
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

    def _agree(self, theirs: Announcement) -> Agreement | None:
        """What holds with a peer that announces this; a session asks for it several times."""
        mine = self._mine
        if mine is None:
            return None
        if theirs is not self._agreed_with:
            self._agreed_with = theirs
            self._agreed = agree(mine, theirs)
        return self._agreed

    def _expect_candidate(self) -> None:
        """Accept frame 0 of the establishment in progress as its confirmation (rule H5)."""
        handshake, heard = self._handshake, self._heard
        if handshake is None or heard is None:
            return
        tags = handshake.candidate if handshake.up else (handshake.tag, handshake.peer_tag)
        agreement = self._agree(heard)
        if tags is not None and agreement is not None:
            self._reader.expect_candidate(session_seed(tags[1], tags[0]), check_payload=agreement.check)

    def _receive_confirmation(self, kind: int, stream: int, payload: memoryview, now: float, events: list[Any]) -> None:
        if self._handshake is None or self._heard is None:
            return
        outcome = self._handshake.confirm(candidate=self.up)
        if outcome is Outcome.NOTHING:
            return
        self._begin_session(outcome, self._heard, now, events, expected=1)
        if kind & 15 == GOODBYE:
            self._receive_goodbye(kind, payload, now, events)
        elif self._session is not None:
            self._session.receive(kind, stream, payload, self._messages, now, events)
        self._schedule()

    def _begin_session(
        self, outcome: Outcome, announcement: Announcement, now: float, events: list[Any], *, expected: int = 0
    ) -> None:
        handshake, agreement = self._handshake, self._agree(announcement)
        if handshake is None or agreement is None:
            return
        if outcome is Outcome.REPLACED:
            self._drop_session(SessionLost("the peer began a new session: it was restarted or restored"), events)
        tag, peer_tag = handshake.tag, handshake.peer_tag
        self.peer = announcement
        self.agreement = agreement
        self._heard = None
        self._reader.limit = agreement.frame
        self._reader.begin(session_seed(peer_tag, tag), check_payload=agreement.check, expected=expected)
        self._session = session = Session(
            (tag, peer_tag),
            announcement,
            agreement,
            limits=self.limits,
            keepalive=Keepalive(self._keepalive_interval, announcement.keepalive, now, lost_after=self._lost_after),
            make_stream=self._make_stream,
            flush_wanted=self._stream_wants_flush,
            now=now,
        )
        self.calls.begin(session.scheduler.message, announcement.deadline or math.inf, announcement.message)
        events.append(SessionUp(announcement, agreement))

    def _end_session(self, error: SessionLost, now: float, events: list[Any], *, quiet: float = 0.0) -> None:
        self._drop_session(error, events)
        if self._handshake is not None:
            self._handshake.leave(now, quiet=quiet)
        self._reader.leave()
        self._reader.limit = self.limits.frame
        self._heard = None
        self._schedule()

    def _drop_session(self, error: SessionLost, events: list[Any]) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        self.calls.send = self._queue_message
        self.calls.end_all(error, events)
        session.end(error)
        if self._goodbye_at != math.inf:
            self._goodbye_at = math.inf
            events.append(GoodbyeDone(acknowledged=isinstance(error, PeerGone)))
        events.append(SessionEnded(error))

    # -- goodbye -------------------------------------------------------------------------------------------------

    def goodbye(self, reason: str, message: str, now: float, *, patience: float = 10.0) -> bool:
        if self._session is None:
            return False
        self.calls.draining = True
        self._session.farewell = encode_goodbye(reason, message)
        self._goodbye_at = now + patience
        self._schedule()
        return True

    def _receive_goodbye(self, kind: int, payload: memoryview, now: float, events: list[Any]) -> None:
        if kind & FLAG_ACKNOWLEDGEMENT:
            if self._goodbye_at != math.inf:
                self._goodbye_at = math.inf
                events.append(GoodbyeDone(acknowledged=True))
                self._close(now, events)
            return
        if self._session is not None:
            self._outbox.append(self._session.writer.frame(GOODBYE | FLAG_ACKNOWLEDGEMENT, 0, b""))
        reason, message = decode_goodbye(payload)
        text = f"the peer said goodbye: {message or reason}"
        self._end_session(PeerGone(text, reason=reason), now, events, quiet=QUIET_AFTER_GOODBYE)

    def _close(self, now: float, events: list[Any]) -> None:
        """Our goodbye is done: this side speaks no more on this channel (rule G3)."""
        self._closed = True
        self._end_session(SessionLost("this side said goodbye"), now, events, quiet=math.inf)

    # -- bytes out -----------------------------------------------------------------------------------------------

    @property
    def has_data(self) -> bool:
        if self._calm and self._session is not None:
            return self._session.scheduler.has_data
        return bool(self._outbox) or self._hello_is_due or (self._session is not None and self._session.has_data)

    @property
    def _hello_is_due(self) -> bool:
        return self._handshake is not None and self._handshake.due and self._may_speak and not self._closed

    def data_to_send(self, now: float) -> Buffers:
        session = self._session
        if self._calm and session is not None:
            scheduler = session.scheduler
            self.more = False
            if not scheduler.has_data:
                return []
            if scheduler.sole is not None:
                out: Buffers = []
                scheduler.emit_sole(session.writer, scheduler.sole, now, out)
                if out:
                    session.keepalive.last_sent = now
                    return out
        return self._data_to_send(now)

    def _data_to_send(self, now: float) -> Buffers:
        """The long way: whatever may have to be sent."""
        out: Buffers = []
        if self._outbox:
            out += self._outbox
            self._outbox.clear()
        handshake = self._handshake
        if handshake is not None and handshake.due and self._may_speak and not self._closed:
            self._emit_hello(handshake, now, out)
        session = self._session
        self.more = False
        if session is not None and (session.scheduler.has_data or session.has_data):
            leaving = session.farewell is not None
            session.emit(now, out)
            if leaving and session.farewell is None:
                self._goodbye_at = now + GOODBYE_TIMEOUT
                self._schedule()
            self.more = session.scheduler.has_data
            if self.more and session.agreement.line_rate is not None:
                self.next_timer_at = min(self.next_timer_at, session.next_timer())
        self._calm = self._is_calm
        return out

    @property
    def _is_calm(self) -> bool:
        """Nothing but messages can have to be sent, until something else happens; see :attr:`_calm`."""
        session = self._session
        if session is None or session.agreement.line_rate is not None or self._outbox or self._hello_is_due:
            return False
        return session.scheduler.has_data or not session.has_data  # else a slow reader's credits or pongs wait

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
        events: list[Any] = []
        self._calm = False
        if self._handshake is not None:
            self._handshake.handle_timer(now)
        self.calls.handle_timer(now, events)
        if self._session is not None:
            self._keep_alive(self._session, now, events)
        if now >= self._goodbye_at:
            self._goodbye_at = math.inf
            events.append(GoodbyeDone(acknowledged=False))
            self._close(now, events)
        self._schedule()
        return events

    def _keep_alive(self, session: Session, now: float, events: list[Any]) -> None:
        session.tidy()
        self.calls.tidy()
        keepalive = session.keepalive
        turned_silent = keepalive.judge(now)
        if turned_silent:
            events.append(Liveness(silent=True))
        if keepalive.is_lost(now):
            self._end_session(SessionLost("the peer has been silent for too long"), now, events)
            return
        was_due = session.keep_alive(now)
        if turned_silent or (keepalive.silent and was_due):
            session.ping(now)
            if self._handshake is not None:
                self._handshake.probe(now)

    def _schedule(self) -> None:
        """Compute the next timer anew: something has happened."""
        self._calm = False
        at = self.calls.next_deadline
        if self._goodbye_at < at:
            at = self._goodbye_at
        if self._handshake is not None:
            retry_at = self._handshake.next_timer()
            if retry_at is not None and retry_at < at:
                at = retry_at
        if self._session is not None:
            at = min(at, self._session.next_timer())
        self.next_timer_at = at

    # -- calls and streams ---------------------------------------------------------------------------------------

    @property
    def silent(self) -> bool:
        return self._session is not None and self._session.keepalive.silent

    @property
    def streams(self) -> StreamTable | None:
        """The streams of the session, or None."""
        return None if self._session is None else self._session.streams

    def _stream_wants_flush(self) -> None:
        self._calm = False
        self._flush_wanted()

    def ping(self, now: float) -> bool:
        self._calm = False
        return self._session is not None and self._session.ping(now)

    def open_stream(self, flags: int, priority: int | None = None) -> tuple[Stream, msgpack.ExtType]:
        if self._session is None:
            raise UsageError("there is no session to open a stream in")
        if priority is None:
            priority = self.calls.opening_class if flags & ITEMS else BULK
        stream, reference = self._session.streams.open(flags, priority)
        self.calls.opening.append(stream)
        return stream, reference

    def _discard(self, streams: list[Stream]) -> None:
        if self._session is not None:
            for stream in streams:
                self._session.streams.discard(stream)

    def _queue_message(self, priority: int, message: Outgoing) -> None:
        """Outside a session nothing is sent; in one the scheduler takes messages itself."""

    def _forget_message(self, priority: int, message: Outgoing) -> None:
        if self._session is not None:
            self._session.scheduler.forget(priority, message)

    def _decode_stream(self, data: bytes) -> Any:
        if self._session is None:
            raise ValueError("a stream outside a session")
        streams = self._session.streams
        if streams.is_full:
            self._messages.refusal = (8, f"more than {self.limits.streams} open streams")
            raise ValueError("too many streams")
        return self._messages.opened(streams.accept(data))

    def _refuse_stream(self, data: bytes) -> None:
        if self._session is not None:
            self._session.streams.refuse(data)

    def statistics(self) -> dict[str, int]:
        """Counters of what was wrong, and sizes of what is open."""
        counters = {
            "noise": self._reader.noise,
            "pad": self._reader.pad,
            "bad_payloads": self._reader.bad_payloads,
            "violations": self.violations,
            "echoes": self._handshake.echoes if self._handshake is not None else 0,
        }
        return counters | (self._session.statistics() if self._session is not None else {})
