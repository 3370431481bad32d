"""Plain msgpack-RPC (docs/protocol.md, section X)."""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.errors import DeadlineExceeded, NotFound, SessionLost, UnknownError, UsageError
from virtagent.protocol.events import SessionEnded
from virtagent.protocol.limits import Limits
from virtagent.protocol.plain import RECEIVE_SIZE, PlainConnection
from virtagent.protocol.rpc import Call, Notification, Request, RequestEnded
from virtagent.protocol.streams import SENDS


def pack(*message: Any) -> bytes:
    data: bytes = msgpack.packb(list(message))
    return data


def sent(connection: PlainConnection) -> list[Any]:
    unpacker = msgpack.Unpacker()
    unpacker.feed(b"".join(connection.data_to_send(0.0)))
    return list(unpacker)


def test_calls_go_both_ways_as_the_specification_has_it() -> None:
    """Rules X1, X3: four elements, nothing more."""
    one, other = PlainConnection(), PlainConnection()
    call = one.call("add", [1, 2], 0.0, metadata={"key": "x"}, deadline=5.0)
    one.notify("hint", [3])
    assert one.has_data
    data = b"".join(one.data_to_send(0.0))
    assert data == pack(0, 1, "add", [1, 2]) + pack(2, "hint", [3])
    assert one.data_to_send(0.0) == []
    request, notification = other.receive_data(data, 0.0)
    assert isinstance(notification, Notification)
    assert other.respond(request, 3)
    buffer = one.get_buffer()
    answer = b"".join(other.data_to_send(0.0))
    buffer[: len(answer)] = answer
    assert one.received(len(answer), 1.0) == [call]
    assert call.result == 3


def test_errors_are_sent_as_ours_and_accepted_as_any_value() -> None:
    """Rules X3, C3."""
    connection = PlainConnection()
    (request,) = connection.receive_data(pack(0, 7, "m", []), 0.0)
    connection.respond(request, error=[5, "no", None])
    assert sent(connection) == [[1, 7, [5, "no", None], None]]
    first, second = connection.call("m", [], 0.0), connection.call("m", [], 0.0)
    connection.receive_data(pack(1, 1, "some text", None) + pack(1, 2, [5, "no", None], None), 0.0)
    assert isinstance(first.error, UnknownError)
    assert str(first.error) == "some text"
    assert isinstance(second.error, NotFound)


def test_a_cancelled_call_is_not_sent_and_leaves_nothing_behind() -> None:
    """Rules X3, C8: there is no cancel message."""
    connection = PlainConnection()
    for _ in range(1000):
        connection.cancel(connection.call("m", [], 0.0))
    assert connection._waiting == {}
    gone = connection.call("m", [], 0.0)
    assert len(sent(connection)) == 1
    connection.cancel(gone)
    assert sent(connection) == []
    assert connection.receive_data(pack(1, gone.identifier, None, 1), 0.0) == []


def test_deadlines_are_enforced_here() -> None:
    """Rules X3, D3."""
    connection = PlainConnection(deadline=3.0)
    call = connection.call("m", [], 10.0)
    assert connection.next_timer_at == 13.0
    (request,) = connection.receive_data(pack(0, 7, "m", []), 10.0)
    assert connection.handle_timer(12.0) == []
    assert connection.handle_timer(13.0) == [call]
    assert isinstance(call.error, DeadlineExceeded)
    assert connection.handle_timer(70.0) == [(RequestEnded.DEADLINE, request)]


def test_what_plain_has_not_says_so() -> None:
    """Rule X3."""
    connection = PlainConnection()
    with pytest.raises(UsageError, match="no streams"):
        connection.open_stream(SENDS)
    with pytest.raises(UsageError, match="not plain data"):
        connection.call("m", [object()], 0.0)
    assert not connection.ping(0.0)
    assert not connection.silent
    assert not connection.goodbye("stop", "", 0.0)
    connection.receive_data(pack(0, 1, "m", []), 0.0)
    assert sent(connection)[0][2][0] == 14
    assert connection.receive_data(pack(2, "n", [msgpack.ExtType(1, b"12345")]), 0.0)[0].params[0].code == 1


@pytest.mark.parametrize("data", [
    b"\xc1", b"\x05", pack(3, 1), pack(5, 1, "m", []), pack(0, 1, "m", [], {}), pack(), b"\x81\x01\x02",
    b"\xc7\x0c\xff" + struct.pack(">Iq", 0, 2**62), b"\x91" * 5000, pack("0", 1, 2), pack([], 1, 2),
])  # fmt: skip
def test_what_is_not_msgpack_rpc_ends_the_channel(data: bytes) -> None:
    """Rule X4."""
    connection = PlainConnection()
    call = connection.call("m", [], 0.0)
    events = connection.receive_data(data, 0.0)
    assert [type(event) for event in events] == [Call, SessionEnded]
    assert isinstance(call.error, SessionLost)
    assert not connection.up
    assert connection.receive_data(pack(0, 1, "m", []), 0.0) == []
    assert connection.channel_lost(0.0, "again") == []


def test_a_message_of_the_limit_is_accepted_and_a_longer_one_ends_the_channel() -> None:
    """Rule X4: also where the next message follows at once, in reads of any size."""
    connection = PlainConnection(limits=Limits()._replace(message=100_000))
    message = pack(0, 1, "m", [bytes(99_900)])
    events = connection.receive_data((message + pack(2, "n", [])) * 3, 0.0)
    assert sum(isinstance(event, Notification) for event in events) == 3
    assert connection.up
    ended = connection.receive_data(pack(0, 2, "m", [bytes(100_000 + 2 * RECEIVE_SIZE)]), 0.0)
    assert isinstance(ended[-1], SessionEnded)


def test_a_peer_that_reads_no_answers_loses_the_channel() -> None:
    """Rules X4, C6."""
    connection = PlainConnection(limits=Limits()._replace(calls=5))
    events = []
    for number in range(100):
        events += connection.receive_data(pack(0, number, "m", []), 0.0)
    assert isinstance(events[-1], SessionEnded)
    assert "reads no answers" in str(events[-1].error)


def test_the_end_of_the_channel_ends_everything() -> None:
    """Rules G5, D5."""
    connection = PlainConnection()
    call = connection.call("m", [], 0.0)
    (request,) = connection.receive_data(pack(0, 1, "m", []), 0.0)
    events = connection.channel_lost(0.0, "closed")
    assert events[:2] == [call, (RequestEnded.SESSION_LOST, request)]
    assert isinstance(call.error, SessionLost)
    assert not call.error.may_have_run
    assert not connection.has_data
    with pytest.raises(SessionLost):
        connection.call("m", [], 0.0)


@given(st.lists(st.binary(max_size=30) | st.just(pack(0, 1, "m", [])) | st.just(pack(1, 1, None, 2)), max_size=10))
def test_no_bytes_raise(parts: list[bytes]) -> None:
    """Rules X4, L1."""
    connection = PlainConnection()
    connection.call("m", [], 0.0)
    for data in parts:
        for event in connection.receive_data(data, 0.0):
            if isinstance(event, Request):
                connection.respond(event, 1)
    connection.data_to_send(0.0)
