"""Messages out of frames (docs/protocol.md, rules C2, P6, T9, V8)."""

from __future__ import annotations

import time
from typing import Any

import msgpack
import pytest

from virtagent.errors import CallError, Overloaded, ResourceExhausted
from virtagent.protocol.codec import EXT_STREAM, Codec
from virtagent.protocol.limits import Limits
from virtagent.protocol.messages import MessageReader, Violation
from virtagent.protocol.reassembly import TooLong
from virtagent.protocol.rpc import CallTable, Notification, Request
from virtagent.protocol.schedule import NORMAL, Outgoing
from virtagent.protocol.streams import Stream


class FakeStream(Stream):
    """Notes what becomes of a stream, and is in no session: what the real one keeps is not there."""

    def __init__(self, data: bytes) -> None:
        self.items = False
        self.data = data
        self.resets: list[Any] = []
        self.forgotten = False

    def reference(self) -> Any:
        return self

    def reset(self, error: Any) -> None:
        self.resets.append(error)

    def receive_reset(self, error: Any) -> None:
        self.forgotten = True


class Reading:
    """A reader over a real call table, with streams that only note what becomes of them."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.streams: list[FakeStream] = []
        self.refused: list[bytes] = []
        self.most_streams = 1000
        self.codec = Codec(decode_stream=self.decode_stream)
        self.calls = CallTable(
            Limits(), self.codec, send=lambda _, message: self.sent.append(message), forget=lambda *_: None
        )
        self.calls.begin(self.calls.send, 60.0, Limits().message)
        self.reader = MessageReader(self.codec, self.calls, self.refused.append)
        self.events: list[Any] = []

    def decode_stream(self, data: bytes) -> Any:
        if len(self.streams) >= self.most_streams:
            self.reader.refusal = (8, "too many streams")
            raise ValueError("too many")
        stream = FakeStream(data)
        self.streams.append(stream)
        return self.reader.opened(stream)

    def receive(self, *message: Any) -> None:
        self.reader.receive(msgpack.packb(list(message)), 0.0, self.events)

    def batch(self, *messages: Any) -> None:
        self.reader.receive_batch(msgpack.packb(list(messages)), 0.0, self.events)

    @property
    def answers(self) -> list[Any]:
        return [msgpack.unpackb(message.data or b"") for message in self.sent]


def reference(number: int) -> msgpack.ExtType:
    return msgpack.ExtType(EXT_STREAM, bytes([number]))


def test_a_message_comes_with_the_streams_that_it_opens() -> None:
    """Rule T1."""
    reading = Reading()
    reading.receive(0, 1, "m", [reference(1)])
    reading.receive(2, "n", [])
    request, notification = reading.events
    assert request.streams == reading.streams
    assert request.params == reading.streams
    assert notification.streams is None


def test_each_message_of_a_batch_gets_its_own_streams_in_order() -> None:
    """Rules P4, T1."""
    reading = Reading()
    reading.batch(
        [0, 1, "m", [reference(1), [reference(2)]]],
        [0, 2, "m", []],
        [2, "n", {"a": {"b": reference(3)}, "c": [1, reference(4)]}],
        [9, reference(5)],
    )
    one, two, three = reading.events
    assert [stream.data for stream in one.streams] == [b"\x01", b"\x02"]
    assert two.streams is None
    assert [stream.data for stream in three.streams] == [b"\x03", b"\x04"]
    assert [bool(stream.resets) for stream in reading.streams] == [False, False, False, False, True]


def test_a_batch_with_one_bad_message_is_taken_apart() -> None:
    """Rules C2, V6, V8: the streams of its first reading are forgotten without a word to the peer."""
    reading = Reading()
    reading.batch([0, 1, "m", [reference(1)]], [0, 2, "m", [reference(2), {1: 2}]], [2, "n", []])
    request, notification = reading.events
    assert isinstance(request, Request)
    assert isinstance(notification, Notification)
    first, again = reading.streams[0], next(stream for stream in reading.streams[1:] if stream.data == b"\x01")
    assert [id(stream) for stream in request.streams or ()] == [id(again)]
    assert first.forgotten
    assert not first.resets
    assert not again.resets
    assert [answer[:2] + answer[2][:1] for answer in reading.answers] == [[1, 2, 19]]
    assert reading.streams[-1].resets


@pytest.mark.parametrize("payload", [b"\xc1", b"", b"\x93\x01", b"\x01\x02"])
def test_a_message_that_is_no_msgpack_is_a_violation(payload: bytes) -> None:
    """Rules V8, G4."""
    with pytest.raises(Violation):
        Reading().reader.receive(payload, 0.0, [])


@pytest.mark.parametrize(
    "payload", [b"\xc1", b"", b"\x93\x01", b"\x80", b"\x01", b"\x91\x81\x01\x01\x01", b"\x81\x01\x01"]
)
def test_a_batch_that_is_no_array_of_values_is_a_violation(payload: bytes) -> None:
    """Rules V8, G4."""
    with pytest.raises(Violation):
        Reading().reader.receive_batch(payload, 0.0, [])


@pytest.mark.parametrize("message", [[2, "n", {1: 2}], [3, 4, {1: 2}], ["x", {1: 2}], {1: 2}])
def test_what_is_not_acceptable_and_no_request_is_counted_and_dropped(message: Any) -> None:
    """Rules C2, V8."""
    reading = Reading()
    reading.reader.receive(msgpack.packb(message), 0.0, reading.events)
    assert reading.events == []
    assert reading.sent == []
    assert reading.calls.malformed == 1


def test_too_many_streams_are_refused_all_together() -> None:
    """Rule T9: those that were accepted are reset, those that were not too."""
    reading = Reading()
    reading.most_streams = 1
    reading.receive(0, 1, "m", [reference(1), reference(2), {"x": reference(3)}])
    assert reading.streams[0].resets
    assert reading.refused == [b"\x01", b"\x02", b"\x03"]
    assert [answer[2][:2] for answer in reading.answers] == [[8, "too many streams"]]
    assert reading.reader.refusal is None


def test_a_message_that_is_too_long_is_answered_or_fails_its_call() -> None:
    """Rule P6."""
    reading = Reading()
    call = reading.calls.call("m", [], 0.0, None, NORMAL, None)
    reading.sent.clear()
    reading.reader.refuse(TooLong((0, 9), "too long"), reading.events)
    assert [answer[1:3] for answer in reading.answers] == [[9, [8, "too long", None]]]
    reading.reader.refuse(TooLong((1, 1), "too long"), reading.events)
    assert reading.events == [call]
    assert type(call.error) is ResourceExhausted
    for head in (None, (2, None), (3, 1)):
        reading.reader.refuse(TooLong(head, "too long"), reading.events)
    assert len(reading.events) == len(reading.sent) == 1


def test_an_answer_that_cannot_be_accepted_has_the_class_of_its_code() -> None:
    """Rules C2, C3."""
    reading = Reading()
    call = reading.calls.call("m", [], 0.0, None, NORMAL, None)
    reading.receive(1, 1, None, {1: 2})
    assert isinstance(call.error, CallError)
    assert not isinstance(call.error, ResourceExhausted | Overloaded)
    assert call.error.code == 19


def test_a_batch_of_many_messages_and_many_streams_takes_no_quadratic_time() -> None:
    """Rule L1: 200,000 messages beside 1,000 streams were 200 million steps."""
    reading = Reading()
    begin = time.process_time()
    reading.batch([2, "n", [reference(1)] * 1000], *[[]] * 60_000)
    assert len(reading.events[0].streams) == 1000
    assert time.process_time() - begin < 3
