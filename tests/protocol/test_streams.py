"""Streams with credit (docs/protocol.md, section T)."""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.pipes import Recorded
from virtagent.errors import CallError, SessionLost, StreamReset, VirtagentError
from virtagent.protocol.frames import CREDIT, DATA, FLAG_END, FLAG_ERROR, RESET, FrameReader, FrameWriter
from virtagent.protocol.limits import SERIAL
from virtagent.protocol.schedule import BULK, NORMAL, Buffers, Scheduler
from virtagent.protocol.streams import ITEMS, RECEIVES, SENDS, StreamTable

LIMITS = SERIAL._replace(streams=4, window=100, surplus=300, largest_window=400)
FRAME = 64
ACTIONS = ["send", "send", "consume", "consume", "emit", "emit", "deliver", "deliver", "end", "fail", "reset", "open"]


class End:
    """One side's table, its scheduler and its frames on the wire."""

    def __init__(self, *, odd: bool) -> None:
        self.scheduler = Scheduler(FRAME)
        self.flushes = 0
        self.table = StreamTable(
            LIMITS, peer_window=100, peer_streams=4, odd=odd, scheduler=self.scheduler, make_stream=Recorded,
            flush_wanted=self.flush,
        )  # fmt: skip
        self.writer = FrameWriter(1, check_payload=True)
        self.reader = FrameReader(4096)
        self.reader.begin(1, check_payload=True)
        self.wire = bytearray()
        self.sent_frames: list[tuple[int, int, bytes]] = []

    def flush(self) -> None:
        self.flushes += 1

    def emit(self, budget: int = 1) -> None:
        self.table.emit_credits()
        out: Buffers = []
        self.scheduler.emit(self.writer, budget, 0.0, out)
        self.wire += b"".join(out)

    def deliver_to(self, other: End) -> None:
        data, self.wire = bytes(self.wire), bytearray()
        while data:
            data = data[other.reader.feed(data) :]
            while (frame := other.reader.next_frame()) is not None:
                kind, stream, payload = frame
                self.sent_frames.append((kind, stream, bytes(payload)))
                other.table.receive(kind, stream, payload)


class Joined:
    def __init__(self) -> None:
        self.one, self.other = End(odd=True), End(odd=False)

    def open(self, flags: int, opener: End | None = None) -> tuple[Any, Any]:
        opener = opener or self.one
        stream, reference = opener.table.open(flags, BULK)
        stream.opened()
        other = self.other if opener is self.one else self.one
        return stream, other.table.accept(reference.data)

    def pump(self) -> None:
        for _ in range(10_000):
            if not any(end.wire or end.scheduler.has_data or end.table.credits for end in (self.one, self.other)):
                return
            self.one.emit()
            self.one.deliver_to(self.other)
            self.other.emit()
            self.other.deliver_to(self.one)
        raise AssertionError("never quiet")


def test_bytes_flow_from_the_opener_in_order() -> None:
    """Rules T1, T3, T4: many windows long."""
    both = Joined()
    stream, theirs = both.open(SENDS)
    assert (stream.sends, stream.receives, theirs.sends, theirs.receives) == (True, False, False, True)
    data = bytes(range(256)) * 20
    stream.send(data)
    stream.end()
    both.pump()
    assert theirs.data == data
    assert theirs.ends == [None]
    assert stream.closed
    assert theirs.closed
    assert len(both.one.table) == len(both.other.table) == 0
    assert both.other.flushes > 0


def test_bytes_flow_to_the_opener_and_in_both_directions() -> None:
    """Rules T1, T7: half-close leaves the other direction open."""
    both = Joined()
    stream, theirs = both.open(RECEIVES)
    theirs.send(b"answer")
    theirs.end()
    both.pump()
    assert stream.data == b"answer"
    duplex, their_duplex = both.open(SENDS | RECEIVES)
    duplex.send(b"question")
    duplex.end()
    both.pump()
    assert their_duplex.ends == [None]
    assert not duplex.closed
    their_duplex.send(b"x" * 250)
    their_duplex.end()
    both.pump()
    assert duplex.data == b"x" * 250
    assert duplex.closed


def test_each_side_opens_ids_of_its_own_parity() -> None:
    """Rules H6, T1."""
    both = Joined()
    assert [both.open(SENDS)[0].identifier for _ in range(2)] == [1, 3]
    assert [both.open(SENDS, both.other)[0].identifier for _ in range(2)] == [2, 4]


def test_items_have_a_class_of_their_own() -> None:
    """Rule P1: byte streams are bulk."""
    both = Joined()
    reference = struct.pack(">IB", 2, SENDS | ITEMS)
    assert both.one.table.accept(reference).priority == NORMAL
    assert both.one.table.accept(struct.pack(">IB", 4, SENDS)).priority == BULK
    assert both.one.table.accept(struct.pack(">IB", 6, SENDS)).reference() is both.one.table._streams[6]


def test_nothing_is_sent_before_the_opening_message_has_left() -> None:
    """Rules T2, P8: not even a reset."""
    both = Joined()
    stream, _ = both.one.table.open(SENDS, BULK)
    stream.send(b"early")
    stream.end()
    assert not both.one.scheduler.has_data
    regretted, _ = both.one.table.open(SENDS, BULK)
    regretted.send(b"early")
    regretted.reset([1, "changed my mind", None])
    assert regretted.queued == 0
    assert not both.one.scheduler.has_data
    stream.opened()
    regretted.opened()
    both.one.emit(10_000)
    both.one.deliver_to(both.other)
    assert [(kind, identifier) for kind, identifier, _ in both.one.sent_frames] == [
        (RESET, regretted.identifier),
        (DATA | FLAG_END, stream.identifier),
    ]


def test_a_stream_whose_message_never_left_is_discarded() -> None:
    """Rule T2: and gives its place back."""
    both = Joined()
    stream, _ = both.one.table.open(SENDS, BULK)
    both.one.table.discard(stream)
    both.one.table.discard(stream)
    assert stream.closed
    assert isinstance(stream, Recorded)
    assert len(stream.resets) == 1
    assert (len(both.one.table), both.one.table._mine) == (0, 0)
    assert not both.one.scheduler.has_data


def test_a_sender_stops_at_its_credit() -> None:
    """Rule T4."""
    both = Joined()
    stream, theirs = both.open(SENDS)
    theirs.reads_at_once = False
    stream.send(b"x" * 500)
    both.pump()
    assert len(theirs.data) == 100
    assert stream.queued == 400
    theirs.consume(100)
    both.pump()
    assert len(theirs.data) > 100


def test_credit_never_goes_down() -> None:
    """Rule T4."""
    both = Joined()
    stream, _ = both.open(SENDS)
    stream.receive_credit(1000)
    stream.receive_credit(5)
    assert stream._send_limit == 1000


def test_credit_is_refilled_when_half_of_it_is_consumed_and_only_the_newest_counts() -> None:
    """Rule T5."""
    both = Joined()
    stream, theirs = both.open(SENDS)
    theirs.reads_at_once = False
    stream.send(b"x" * 100)
    both.pump()
    theirs.consume(49)
    assert not both.other.table.credits
    theirs.consume(1)
    theirs.consume(50)
    both.other.emit()
    both.other.deliver_to(both.one)
    credits = [frame for frame in both.other.sent_frames if frame[0] == CREDIT]
    assert len(credits) == 1
    assert struct.unpack(">Q", credits[0][2])[0] == theirs._granted == stream._send_limit


def test_a_window_grows_from_a_shared_surplus_that_comes_back() -> None:
    """Rule T5."""
    both = Joined()
    streams = [both.open(SENDS) for _ in range(3)]
    for stream, theirs in streams:
        stream.send(b"x" * 3000)
        both.pump()
        assert theirs._window <= LIMITS.largest_window
    table = both.other.table
    assert table._surplus + sum(theirs._window - LIMITS.window for _, theirs in streams) == LIMITS.surplus
    assert table._surplus >= 0
    for stream, _ in streams:
        stream.end()
    both.pump()
    assert table._surplus == LIMITS.surplus
    assert all(len(theirs.data) == 3000 for _, theirs in streams)


def test_data_beyond_the_credit_resets_the_stream() -> None:
    """Rule T6."""
    both = Joined()
    stream, theirs = both.open(SENDS)
    both.other.table.receive(DATA, stream.identifier, memoryview(bytes(101)))
    assert both.other.table.overruns == 1
    assert theirs.closed
    assert [error.code for error in theirs.resets] == [8]
    assert theirs.data == b""
    both.pump()
    assert isinstance(stream.resets[0], CallError)
    assert stream.resets[0].code == 8


def test_a_stream_can_end_with_an_error_after_its_data() -> None:
    """Rule T7."""
    both = Joined()
    stream, theirs = both.open(SENDS)
    stream.send(b"x" * 150)
    stream.end([5, "gone " + "ä" * 300, {"data": 1}])
    stream.end()
    both.pump()
    assert theirs.data == b"x" * 150
    (error,) = theirs.ends
    assert error.code == 5
    assert error.message.startswith("gone ä")
    assert theirs.closed
    assert stream.closed


def test_an_error_alone_needs_no_data_and_no_credit() -> None:
    """Rule T7."""
    both = Joined()
    stream, theirs = both.open(SENDS)
    theirs.reads_at_once = False
    stream.send(bytes(100))
    both.pump()
    stream.end([13, "failed", None])
    both.pump()
    assert [type(error).__name__ for error in theirs.ends] == ["InternalError"]


def test_after_its_end_a_direction_sends_nothing_whatever_credit_comes() -> None:
    """Rule T7: credit for it is ignored, in a stream whose other direction is open."""
    both = Joined()
    stream, theirs = both.open(SENDS | RECEIVES)
    stream.end()
    both.pump()
    frames = len(both.one.sent_frames)
    both.one.table.receive(CREDIT, stream.identifier, memoryview(struct.pack(">Q", 10_000)))
    stream.send(b"late")
    both.pump()
    assert len(both.one.sent_frames) == frames
    assert theirs.ends == [None]
    theirs.end()
    both.pump()
    assert stream.closed


def test_a_reset_ends_both_directions_and_drops_what_is_queued() -> None:
    """Rule T8."""
    both = Joined()
    stream, theirs = both.open(SENDS | RECEIVES)
    stream.send(b"x" * 5000)
    theirs.send(b"y" * 5000)
    theirs.reset([1, "enough", None])
    theirs.reset([1, "again", None])
    assert theirs.queued == 0
    both.pump()
    assert stream.closed
    assert [str(error) for error in stream.resets] == ["enough"]
    assert [frame[0] for frame in both.other.sent_frames].count(RESET) == 1
    assert stream.queued == 0
    assert len(both.one.table) == len(both.other.table) == 0


def test_a_reset_does_not_overtake_nothing_and_its_turn_in_the_ring_is_forgotten() -> None:
    """Rules T8, P8."""
    both = Joined()
    stream, _ = both.open(SENDS)
    stream.send(b"queued")
    stream.reset([1, "no", None])
    both.one.emit(1000)
    both.one.deliver_to(both.other)
    assert [kind for kind, _, _ in both.one.sent_frames] == [RESET]


def test_frames_for_a_stream_that_is_closed_are_ignored() -> None:
    """Rule T8."""
    both = Joined()
    stream, theirs = both.open(SENDS | RECEIVES)
    theirs.reset([1, "", None])
    for kind in (DATA, CREDIT, RESET, DATA | FLAG_END):
        both.other.table.receive(kind, stream.identifier, memoryview(bytes(8)))
    theirs.consume(5)
    assert theirs.data == b""
    theirs.receive_data(memoryview(b"x"), end=False, error=False)
    assert theirs.data == b""


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x93\x05\xa1x", b"\xc7\x0c\xff" + struct.pack(">Iq", 0, 2**62)])
@pytest.mark.parametrize("kind", [RESET, DATA | FLAG_ERROR, DATA | FLAG_ERROR | FLAG_END])
def test_whatever_a_reset_or_an_error_carries_ends_the_stream(kind: int, payload: bytes) -> None:
    """Rules T7, T8, L1: a timestamp beyond every calendar makes msgpack raise OverflowError."""
    both = Joined()
    _, theirs = both.open(SENDS)
    both.other.table.receive(kind, theirs.identifier, memoryview(payload))
    assert theirs.closed
    assert len(theirs.resets) + len(theirs.ends) == 1
    assert isinstance((theirs.resets + theirs.ends)[0], VirtagentError)


def test_a_credit_of_a_wrong_size_is_ignored() -> None:
    """Rule L1."""
    both = Joined()
    stream, _ = both.open(SENDS)
    both.one.table.receive(CREDIT, stream.identifier, memoryview(b"123"))
    assert stream._send_limit == 100


@pytest.mark.parametrize(
    "reference",
    [b"", b"1234", b"123456", struct.pack(">IB", 0, 1), struct.pack(">IB", 1, 1), struct.pack(">IB", 2, 0),
     struct.pack(">IB", 2, 4)],
)  # fmt: skip
def test_a_reference_that_is_not_the_peers_to_open_is_refused(reference: bytes) -> None:
    """Rules T1, T9."""
    with pytest.raises(ValueError):
        Joined().one.table.accept(reference)


def test_an_id_that_is_open_already_is_refused() -> None:
    """Rule T9."""
    table = Joined().one.table
    table.accept(struct.pack(">IB", 2, SENDS))
    with pytest.raises(ValueError, match="open already"):
        table.accept(struct.pack(">IB", 2, SENDS))


def test_both_sides_count_open_streams() -> None:
    """Rule T9."""
    both = Joined()
    opened = [both.open(SENDS) for _ in range(4)]
    with pytest.raises(VirtagentError, match="4 open streams"):
        both.one.table.open(SENDS, BULK)
    assert [end.table.is_full for end in (both.one, both.other)] == [False, True]
    opened[0][0].reset([1, "", None])
    both.pump()
    assert not both.other.table.is_full
    both.open(SENDS)


def test_a_refused_reference_is_reset_only_if_it_was_the_peers_to_open() -> None:
    """Rule T9."""
    both = Joined()
    both.open(SENDS)
    for reference in (b"xx", struct.pack(">IB", 0, 1), struct.pack(">IB", 2, 1), struct.pack(">IB", 1, 1)):
        both.other.table.refuse(reference)
    assert not both.other.scheduler.has_data
    both.other.table.refuse(struct.pack(">IB", 9, 1))
    both.other.emit()
    both.other.deliver_to(both.one)
    ((kind, identifier, payload),) = both.other.sent_frames
    assert (kind, identifier, msgpack.unpackb(payload)[0]) == (RESET, 9, 8)
    assert both.other.table.refused == 5


def test_the_end_of_the_session_resets_every_stream() -> None:
    """Rule G5."""
    both = Joined()
    streams = [both.open(SENDS | RECEIVES)[0] for _ in range(3)]
    both.one.table.end_all(SessionLost("lost"))
    assert all(isinstance(stream.resets[0], SessionLost) for stream in streams)
    assert len(both.one.table) == both.one.table._mine == 0
    assert both.one.table._surplus == LIMITS.surplus


def test_a_plain_stream_needs_no_face() -> None:
    """Rule T1: the core's own class does nothing with what comes."""
    end = End(odd=True)
    table = StreamTable(LIMITS, peer_window=100, peer_streams=4, odd=True, scheduler=end.scheduler)
    stream = table.accept(struct.pack(">IB", 2, SENDS))
    table.receive(DATA, 2, memoryview(b"x"))
    table.receive(DATA | FLAG_END, 2, memoryview(b""))
    assert stream.closed
    other, _ = table.open(SENDS, BULK)
    other.opened()
    other.send(b"")
    other.send(memoryview(b"x"))
    other.receive_reset(StreamReset("over"))
    assert other.closed


steps = st.lists(
    st.tuples(
        st.sampled_from(ACTIONS),
        st.integers(0, 1),
        st.integers(0, 7),
        st.integers(0, 350),
    ),
    max_size=120,
)  # fmt: skip


class Model:
    """What each direction was given, against what came out."""

    def __init__(self) -> None:
        self.both = Joined()
        self.streams: list[tuple[Any, Any]] = []
        self.given: dict[Any, bytearray] = {}
        self.unread: dict[Any, int] = {}
        self.was_reset: set[Any] = set()

    def run(self, action: str, side: int, which: int, amount: int) -> None:
        ends = (self.both.one, self.both.other)
        if action == "open":
            opener = ends[side]
            if not ends[1 - side].table.is_full and opener.table._mine < 4:
                pair = self.both.open(1 + which % 3, opener)
                self.streams.append(pair)
                for stream in pair:
                    stream.reads_at_once = False
                    self.given[stream] = bytearray()
        elif action == "emit":
            ends[side].emit(1 + amount * 4)
        elif action == "deliver":
            ends[side].deliver_to(ends[1 - side])
        elif self.streams:
            self.act(action, self.streams[which % len(self.streams)][side], amount)

    def act(self, action: str, stream: Any, amount: int) -> None:
        if action == "consume":
            stream.consume(min(amount, len(stream.data) - stream._consumed))
        elif action == "send" and stream.sends and not stream.closed and stream._end is None:
            data = bytes([len(self.given[stream]) % 251]) * amount
            stream.send(data)
            self.given[stream] += data
        elif action in ("end", "fail") and stream.sends:
            stream.end(None if action == "end" else [13, "failed", None])
        elif action == "reset":
            stream.reset([1, "no", None])
            self.was_reset.add(stream)

    def check(self) -> None:
        for pair in self.streams:
            for sender, receiver in (pair, pair[::-1]):
                assert self.given[sender].startswith(receiver.data)
                assert sender._sent <= sender._send_limit
                assert receiver._received <= receiver._granted
        for end in (self.both.one, self.both.other):
            assert end.table.overruns == 0
            grown = sum(stream._window - LIMITS.window for stream in end.table._streams.values())
            assert end.table._surplus + grown == LIMITS.surplus
            assert end.table._surplus >= 0


@settings(max_examples=150, deadline=None)
@given(steps)
def test_any_interleaving_delivers_bytes_in_order_within_the_credit_and_leaves_nothing(
    sequence: list[tuple[str, int, int, int]],
) -> None:
    """Rules T4, T5, T6, T7, T8."""
    model = Model()
    model.run("open", 0, 0, 0)
    model.run("open", 1, 2, 0)
    for action in sequence:
        model.run(*action)
        model.check()
    for pair in model.streams:
        for stream in pair:
            stream.reads_at_once = True
            stream.consume(len(stream.data) - stream._consumed)
            if stream.sends:
                stream.end()
    model.both.pump()
    model.check()
    for one, other in model.streams:
        assert one.closed
        assert other.closed
        if not model.was_reset & {one, other}:
            assert (one.data, other.data) == (model.given[other], model.given[one])
    for end in (model.both.one, model.both.other):
        assert (len(end.table), end.table._mine, end.table._surplus) == (0, 0, LIMITS.surplus)
        assert not bool(end.table.credits)
