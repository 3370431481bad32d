"""Who is next on the wire (docs/protocol.md, section P)."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.protocol.call import Notification
from virtagent.protocol.frames import (
    ABORT,
    ALIVE,
    BATCH,
    CREDIT,
    DATA,
    FLAG_FIRST,
    FLAG_LAST,
    FRAGMENT,
    MESSAGE,
    FrameReader,
    FrameWriter,
)
from virtagent.protocol.schedule import BULK, JOIN_BELOW, NORMAL, URGENT, Buffers, Scheduler
from virtagent.protocol.streams import Stream

LIMIT = 256


class Departures(Stream):
    """A stream in no session: it is opened when the message that carries it has left."""

    def __init__(self) -> None:
        self.times = 0

    def opened(self) -> None:
        self.times += 1


def outgoing(data: bytes) -> Notification:
    return Notification(data, streams=[Departures()])


def departures(message: Notification) -> int:
    """How often a message has left."""
    assert message.streams is not None
    (stream,) = message.streams
    assert isinstance(stream, Departures)
    return stream.times


class Flow:
    """A source with a given number of full frames."""

    def __init__(self, stream: int, frames: int, size: int = LIMIT) -> None:
        self.stream, self.frames, self.size = stream, frames, size

    def emit(self, writer: FrameWriter, limit: int, now: float, out: Buffers) -> bool:
        self.frames -= 1
        out += writer.pieces(DATA, self.stream, [bytes(min(limit, self.size))])
        return self.frames > 0


class Wire:
    """A scheduler and a parser of what it emits."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.scheduler = Scheduler(limit)
        self.writer = FrameWriter(1, check_payload=True)
        self.reader = FrameReader(limit)
        self.reader.begin(1, check_payload=True)
        self.limit = limit

    def emit(self, budget: int = 10**9) -> list[tuple[int, int, bytes]]:
        out: Buffers = []
        self.scheduler.emit(self.writer, budget, 0.0, out)
        frames = []
        data = b"".join(out)
        while data:
            data = data[self.reader.feed(data) :]
            while (frame := self.reader.next_frame()) is not None:
                frames.append((frame[0], frame[1], bytes(frame[2])))
                assert len(frame[2]) <= self.limit
        assert self.reader.noise == 0
        return frames


def pack(value: Any) -> bytes:
    data: bytes = msgpack.packb(value)
    return data


@pytest.mark.parametrize(("first", "second"), [(URGENT, NORMAL), (NORMAL, BULK), (URGENT, BULK)])
def test_control_goes_first_then_urgent_before_normal_before_bulk(first: int, second: int) -> None:
    """Rule P1."""
    wire = Wire()
    wire.scheduler.message(second, outgoing(b"second"))
    wire.scheduler.message(first, outgoing(b"first"))
    wire.scheduler.control(ALIVE, 0, b"")
    assert wire.scheduler.waiting_messages == 2
    assert [payload for _, _, payload in wire.emit()] == [b"", b"first", b"second"]
    assert not wire.scheduler.has_data
    assert wire.emit() == []


def test_a_class_that_waits_gets_an_eighth() -> None:
    """Rule P2."""
    wire = Wire()
    for priority in (URGENT, NORMAL, BULK):
        wire.scheduler.ready(priority, Flow(priority, 10_000))
    frames = wire.emit(1_000_000)
    shares = {
        priority: sum(stream == priority for _, stream, _ in frames) / len(frames)
        for priority in (URGENT, NORMAL, BULK)
    }
    assert 0.12 <= shares[NORMAL] <= 0.14
    assert 0.12 <= shares[BULK] <= 0.14
    gaps = [index for index, frame in enumerate(frames) if frame[1] == BULK]
    assert max(later - earlier for earlier, later in pairwise(gaps)) <= 9


def test_normal_shares_with_bulk_alone() -> None:
    """Rule P2."""
    wire = Wire()
    for priority in (NORMAL, BULK):
        wire.scheduler.ready(priority, Flow(priority, 10_000))
    frames = wire.emit(500_000)
    share = sum(stream == BULK for _, stream, _ in frames) / len(frames)
    assert 0.12 <= share <= 0.14


def test_a_class_that_had_nothing_to_send_is_owed_nothing() -> None:
    """Rule P2: it cannot save up a right to block others."""
    wire = Wire()
    wire.scheduler.ready(URGENT, Flow(1, 5000))
    wire.scheduler.ready(URGENT, Flow(11, 5000))
    wire.emit(200_000)
    wire.scheduler.ready(BULK, Flow(3, 1000))
    first = [stream for _, stream, _ in wire.emit(20 * LIMIT)]
    assert first.count(3) <= 4


def test_sources_of_a_class_take_turns_frame_by_frame() -> None:
    """Rule P3."""
    wire = Wire()
    for stream in (1, 2, 3):
        wire.scheduler.ready(BULK, Flow(stream, 3))
    assert [stream for _, stream, _ in wire.emit()] == [1, 2, 3] * 3


def test_a_long_message_does_not_hold_up_the_short_ones_of_its_class() -> None:
    """Rules P3, P4."""
    wire = Wire()
    wire.scheduler.message(NORMAL, outgoing(bytes(LIMIT * 5)))
    wire.scheduler.message(NORMAL, outgoing(b"short"))
    kinds = [kind & 15 for kind, _, _ in wire.emit()]
    assert kinds.index(MESSAGE) <= 1
    assert kinds.count(FRAGMENT) == 6


def test_waiting_messages_share_a_frame() -> None:
    """Rule P4: a msgpack array."""
    wire = Wire()
    sent = [outgoing(pack([2, "m", [number]])) for number in range(10)]
    for message in sent:
        wire.scheduler.message(NORMAL, message)
    ((kind, stream, payload),) = wire.emit()
    assert (kind, stream) == (BATCH, 0)
    assert msgpack.unpackb(payload) == [[2, "m", [number]] for number in range(10)]
    assert all(departures(message) == 1 for message in sent)


@given(st.lists(st.integers(2, 600), min_size=1, max_size=40), st.integers(300, 3000))
def test_every_message_arrives_once_whatever_its_size(sizes: list[int], budget: int) -> None:
    """Rule P4: batches are full, never above the frame limit; fragments are complete."""
    wire = Wire()
    sent = [pack(bytes([index]) * size) for index, size in enumerate(sizes)]
    messages = [outgoing(data) for data in sent]
    for message in messages:
        wire.scheduler.message(NORMAL, message)
    got: list[bytes] = []
    partial: dict[int, bytearray] = {}
    while wire.scheduler.has_data:
        for kind, transfer, payload in wire.emit(budget):
            if kind == MESSAGE:
                got.append(payload)
            elif kind == BATCH:
                assert len(payload) <= LIMIT
                got += [pack(value) for value in msgpack.unpackb(payload)]
            else:
                assert kind & 15 == FRAGMENT
                if kind & FLAG_FIRST:
                    partial[transfer] = bytearray()
                partial[transfer] += payload
                if kind & FLAG_LAST:
                    whole = partial.pop(transfer)
                    assert struct.unpack_from(">I", whole)[0] == len(whole) - 4
                    got.append(bytes(whole[4:]))
    assert sorted(got) == sorted(sent)
    assert not partial
    assert all(departures(message) == 1 for message in messages)


@pytest.mark.parametrize("company", [False, True])
def test_a_large_message_is_handed_out_as_it_is_and_a_small_one_behind_its_header(company: bool) -> None:
    """A copy of a large message costs more than a second buffer; either way the frame is the same."""
    large, small = bytes(JOIN_BELOW), bytes(JOIN_BELOW - 1)
    for data, buffers in ((large, 2), (small, 1)):
        scheduler = Scheduler(1 << 20)
        writer = FrameWriter(1, check_payload=False)
        if company:  # a message that waits with others takes the way of the queue
            scheduler.message(URGENT, outgoing(b"x"))
        scheduler.message(NORMAL, outgoing(data))
        out: Buffers = []
        scheduler.emit(writer, 10**9, 0.0, out)
        assert len(out) == buffers + company
        assert b"".join(out[company:]).endswith(data)
        assert any(piece is data for piece in out) is (data is large)


def test_a_forgotten_message_is_never_sent() -> None:
    """Rule C8: alone, in the middle of others, and when it was the one that did not fit the last frame."""
    wire = Wire()
    alone = outgoing(b"alone")
    wire.scheduler.message(NORMAL, alone)
    wire.scheduler.forget(NORMAL, alone)
    assert wire.emit() == []
    messages = [outgoing(bytes([number]) * 100) for number in range(6)]
    for message in messages:
        wire.scheduler.message(NORMAL, message)
    wire.scheduler.forget(NORMAL, messages[1])
    assert [kind for kind, _, _ in wire.emit(1)] == [BATCH]
    carried = messages[3]
    assert not departures(carried)
    wire.scheduler.forget(NORMAL, carried)
    rest = b"".join(payload for _, _, payload in wire.emit())
    assert departures(carried) == departures(messages[1]) == 0
    assert bytes([3]) * 100 not in rest
    assert bytes([4]) * 100 in rest
    assert bytes([5]) * 100 in rest


def test_when_all_that_waited_is_forgotten_nothing_is_sent() -> None:
    """Rule C8."""
    wire = Wire()
    messages = [outgoing(b"x" * 200) for _ in range(3)]
    for message in messages:
        wire.scheduler.message(NORMAL, message)
    assert len(wire.emit(1)) == 1
    for message in messages[1:]:
        wire.scheduler.forget(NORMAL, message)
    assert wire.emit() == []
    assert not wire.scheduler.has_data
    last = outgoing(b"last")
    wire.scheduler.message(NORMAL, last)
    assert [payload for _, _, payload in wire.emit()] == [b"last"]


def test_a_half_sent_message_is_aborted_when_its_turn_comes() -> None:
    """Rules C8, P5."""
    wire = Wire()
    long = outgoing(bytes(LIMIT * 4))
    wire.scheduler.message(BULK, long)
    ((kind, transfer, _),) = wire.emit(1)
    assert kind == FRAGMENT | FLAG_FIRST
    wire.scheduler.forget(BULK, long)
    assert wire.emit() == [(ABORT, transfer, b"")]
    assert not departures(long)
    assert not wire.scheduler.has_data


def test_forgotten_messages_do_not_pile_up() -> None:
    """Rule C8: 100,000 cancelled while the channel takes nothing."""
    wire = Wire()
    keep = outgoing(b"keep")
    wire.scheduler.message(NORMAL, keep)
    for _ in range(100_000):
        message = outgoing(b"x")
        wire.scheduler.message(NORMAL, message)
        wire.scheduler.forget(NORMAL, message)
    assert wire.scheduler.waiting_messages < 200
    assert [payload for _, _, payload in wire.emit()] == [b"keep"]


def test_what_is_handed_out_ends_with_the_frame_that_reaches_the_budget() -> None:
    """Rule P7."""
    wire = Wire()
    wire.scheduler.ready(BULK, Flow(1, 100))
    assert len(wire.emit(1)) == 1
    assert len(wire.emit(3 * LIMIT)) == 3


def test_a_message_that_opens_a_flow_does_not_take_it_along_beyond_the_budget() -> None:
    """Rule P7: 50 ms of line time is one frame."""
    wire = Wire()

    class Opens(Departures):
        def opened(self) -> None:
            wire.scheduler.ready(BULK, Flow(5, 2))

    wire.scheduler.message(NORMAL, Notification(b"m", streams=[Opens()]))
    assert [kind for kind, _, _ in wire.emit(1)] == [MESSAGE]
    assert [kind for kind, _, _ in wire.emit()] == [DATA, DATA]


def test_control_frames_keep_their_order() -> None:
    """Rule P8."""
    wire = Wire()
    for number in range(5):
        wire.scheduler.control(CREDIT, number, b"12345678")
    assert [stream for _, stream, _ in wire.emit()] == [0, 1, 2, 3, 4]


def test_transfer_ids_go_round_and_are_never_zero() -> None:
    """Rule P4."""
    wire = Wire()
    wire.scheduler._next_transfer = 0xFFFFFFFF
    for _ in range(2):
        wire.scheduler.message(NORMAL, outgoing(bytes(LIMIT + 1)))
    assert {transfer for _, transfer, _ in wire.emit()} == {0xFFFFFFFF, 1}
