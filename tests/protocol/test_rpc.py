"""Calls (docs/protocol.md, sections C and D)."""

from __future__ import annotations

import gc
import math
import sys
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.traced import traced_memory
from virtagent.errors import CallError, DeadlineExceeded, NotFound, PeerGone, SessionLost, UsageError
from virtagent.protocol.codec import Codec
from virtagent.protocol.limits import MIB, Limits
from virtagent.protocol.rpc import (
    SPARE_DEADLINES,
    Call,
    CallTable,
    Notification,
    Request,
    RequestEnded,
    check_outgoing_method,
)
from virtagent.protocol.schedule import BULK, NORMAL, URGENT, Outgoing
from virtagent.protocol.streams import Stream

LIMITS = Limits()._replace(calls=3, depth=4, message=2000)


class FakeStream(Stream):
    """Notes what becomes of a stream, and is in no session: what the real one keeps is not there."""

    def __init__(self, items: bool = False) -> None:
        self.items, self.priority = items, BULK
        self.was_opened = False
        self.resets: list[Any] = []

    def opened(self) -> None:
        self.was_opened = True

    def reset(self, error: Any) -> None:
        self.resets.append(error)

    def receive_reset(self, error: Any) -> None:
        self.reset(error)


class Table:
    """A call table over a queue that is a list."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.queue: list[tuple[int, Outgoing]] = []
        self.calls = CallTable(limits, Codec(), send=self.send, forget=self.forget, deadline=60.0)
        self.calls.begin(self.send, 60.0, limits.message)
        self.events: list[Any] = []

    def send(self, priority: int, message: Outgoing) -> None:
        self.queue.append((priority, message))

    def forget(self, priority: int, message: Outgoing) -> None:
        message.data = None
        self.queue.remove((priority, message))

    def leave(self, now: float = 0.0) -> list[Any]:
        """Hand everything to the channel; the decoded messages."""
        sent = []
        for _, message in self.queue:
            data = message.take(now)
            assert data is not None
            message.left()
            sent.append(msgpack.unpackb(data, strict_map_key=False))
        self.queue.clear()
        return sent

    def call(self, method: str = "m", params: Any = None, now: float = 0.0, **options: Any) -> Call:
        opened = options.pop("streams", None)
        terms = {"deadline": None, "priority": NORMAL, "metadata": None} | options
        call = self.calls.call(method, params, now, **terms)
        call.streams = opened
        return call

    def receive(self, *message: Any, now: float = 0.0, streams: Any = None) -> list[Any]:
        events: list[Any] = []
        self.calls.receive(list(message), now, streams, events)
        return events

    def timer(self, now: float) -> list[Any]:
        events: list[Any] = []
        self.calls.handle_timer(now, events)
        return events

    def end(self, error: SessionLost) -> list[Any]:
        events: list[Any] = []
        self.calls.end_all(error, events)
        return events

    def request(self, identifier: int, **metadata: Any) -> Request:
        (request,) = self.receive(0, identifier, "m", [], *([metadata] if metadata else []))
        assert isinstance(request, Request)
        return request


def is_flooded(table: Table) -> bool:
    return table.calls.unsent_answers > table.calls.most_unsent_answers


def streams(*made: FakeStream) -> list[Stream]:
    return list(made)


# -- our calls ---------------------------------------------------------------------------------------------------------


def test_ids_are_never_used_twice() -> None:
    """Rule C1."""
    table = Table()
    assert [table.call().identifier for _ in range(3)] == [1, 2, 3]
    with pytest.raises(UsageError):
        table.call(params=[object()])
    assert table.call().identifier == 4
    assert [message[1] for message in table.leave()] == [1, 2, 3, 4]


def test_a_call_ends_with_its_result() -> None:
    """Rule C4: responses come in any order."""
    table = Table()
    first, second = table.call(), table.call()
    assert table.leave() == [[0, 1, "m", None], [0, 2, "m", None]]
    assert table.receive(1, 2, None, "two") == [second]
    assert table.receive(1, 1, None, {"one": 1}) == [first]
    assert (first.result, first.error, second.result) == ({"one": 1}, None, "two")
    assert not table.calls.calls


@pytest.mark.parametrize("error", [[5, "no", None], [5, "no"], (5, "no", 7)])
def test_a_call_ends_with_its_error_and_its_streams_with_it(error: Any) -> None:
    """Rules C3, T11."""
    table = Table()
    mine, theirs = FakeStream(), FakeStream()
    call = table.call(streams=streams(mine))
    table.leave()
    assert mine.was_opened
    table.receive(1, 1, error, None, streams=streams(theirs))
    assert isinstance(call.error, NotFound)
    assert mine.resets
    assert theirs.resets


def test_an_error_of_any_shape_is_an_error() -> None:
    """Rule C3: also one nested beyond repr()."""
    deep = msgpack.unpackb(b"\x91" * 1000 + b"\xc0")
    for value in ("text", 5, True, [], [1], ["x", 1], {"code": 5}, [10**18, 5, None], deep, [5, deep, deep]):
        table = Table()
        call = table.call()
        table.receive(1, 1, value, None)
        assert isinstance(call.error, CallError)


def test_a_late_answer_is_dropped_silently_and_a_stray_is_counted() -> None:
    """Rule C4."""
    table = Table()
    call = table.call()
    table.leave()
    table.calls.cancel(call)
    late = FakeStream()
    assert table.receive(1, 1, None, 5, streams=streams(late)) == []
    assert late.resets
    assert table.calls.strays == 0
    for stray in (0, 2, -1, "1", None, 2**64 - 1, 1.0, [1]):
        assert table.receive(1, stray, None, 5) == []
    assert table.calls.strays == 8


def test_a_cancel_follows_a_request_that_has_left() -> None:
    """Rules C7, C8: in the class of the request, so it cannot overtake it."""
    table = Table()
    call = table.call(priority=BULK)
    table.leave()
    table.calls.cancel(call)
    table.calls.cancel(call)
    assert [priority for priority, _ in table.queue] == [BULK]
    assert table.leave() == [[3, 1]]
    assert not table.calls.calls


def test_a_cancelled_request_that_has_not_left_is_never_sent() -> None:
    """Rules C8, T2: and what it opens is forgotten."""
    table = Table()
    stream = FakeStream()
    call = table.call(streams=streams(stream))
    table.calls.cancel(call)
    assert table.queue == []
    assert len(stream.resets) == 1
    assert not stream.was_opened


def test_a_plain_peer_is_sent_no_cancel_and_no_metadata() -> None:
    """Rule X3."""
    table = Table()
    table.calls.with_metadata = False
    call = table.call(deadline=5.0, metadata={"depth": 2})
    table.calls.notify("n", [], metadata={"key": "x"})
    assert table.leave() == [[0, 1, "m", None], [2, "n", []]]
    table.calls.cancel(call)
    assert table.leave() == []


def test_the_deadline_on_the_wire_is_what_remains_when_the_request_leaves() -> None:
    """Rule D2: milliseconds, at least one; nil is none."""
    table = Table()
    table.call(now=100.0, deadline=103.5, metadata={"key": "k"})
    table.call(now=100.0, deadline=math.inf)
    table.call(now=100.0, deadline=101.0)
    table.call(now=100.0, metadata={"depth": 1})
    assert [message[4] for message in table.leave(102.0)] == [
        {"deadline": 1500, "key": "k"}, {"deadline": None}, {"deadline": 1}, {"depth": 1},
    ]  # fmt: skip


def test_metadata_that_cannot_be_sent_is_refused_when_the_call_is_made() -> None:
    """Rules C10, D2: not when its turn comes, inside the channel's callback."""
    table = Table()
    for metadata in ({"key": object()}, {f"k{number}": "" for number in range(16)}, {"n": 2**70}):
        with pytest.raises(UsageError):
            table.call(metadata=metadata)
        with pytest.raises(UsageError):
            table.calls.notify("n", [], metadata=metadata)
    assert table.queue == []
    assert not table.calls.calls
    table.call(metadata={f"k{number}": "" for number in range(15)}, deadline=5.0)
    assert len(table.leave()[0][4]) == 16


def test_a_large_message_leaves_no_large_buffer_behind() -> None:
    """A thousand guests that were each sent one large message would hold gigabytes."""
    table = Table(Limits())
    with traced_memory() as held:
        table.call(params=[bytes(4 * MIB)])
        table.calls.respond(table.request(1), bytes(4 * MIB))
        with pytest.raises(UsageError, match="use a stream"):
            table.call(params=[bytes(20 * MIB)])
        with pytest.raises(UsageError, match="cannot be sent"):
            table.call(params=[bytes(4 * MIB), object()])
        table.queue.clear()
        table.calls.calls.clear()
        assert held() < 64 * 1024


def test_the_buffer_of_a_large_message_is_kept_as_long_as_there_are_more() -> None:
    table = Table(Limits())
    with traced_memory() as held:
        for _ in range(5):
            table.call(params=[bytes(MIB)])
            table.queue.clear()
            table.calls.calls.clear()
            table.calls.tidy()
            assert held() > MIB
        table.calls.tidy()
        assert held() < 64 * 1024


def test_a_message_above_the_peers_limit_is_refused_here() -> None:
    """Rule P6: before anything of it is sent."""
    table = Table()
    with pytest.raises(UsageError, match="the peer accepts 2000; use a stream"):
        table.call(params=[b"x" * 2000])
    with pytest.raises(UsageError):
        table.calls.notify("n", [b"x" * 2000])
    request = table.request(1)
    with pytest.raises(UsageError):
        table.calls.respond(request, b"x" * 2000)
    assert table.calls.respond(request, "short")


@pytest.mark.parametrize("method", ["", "m" * 256, "ä" * 128])
def test_a_method_name_beyond_255_bytes_is_refused_on_both_sides(method: str) -> None:
    """Rule C1: bytes, not characters."""
    with pytest.raises(UsageError, match="1 to 255 bytes"):
        check_outgoing_method(method)
    table = Table()
    assert table.receive(0, 1, method, []) == []
    assert table.leave()[0][2][0] == 19
    check_outgoing_method("ä" * 127)
    assert len(table.receive(0, 2, "ä" * 127, [])) == 1


def test_notifications_leave_with_their_streams() -> None:
    """Rules C10, T1."""
    table = Table()
    stream = FakeStream()
    table.calls.notify("n", [1], priority=URGENT, metadata={"key": "k"}).streams = streams(stream)
    table.calls.notify("n", [2])
    assert table.queue[0][0] == URGENT
    assert table.leave() == [[2, "n", [1], {"key": "k"}], [2, "n", [2]]]
    assert stream.was_opened


# -- deadlines ---------------------------------------------------------------------------------------------------------


def test_a_call_without_an_answer_fails_at_its_deadline_and_is_cancelled() -> None:
    """Rules D1, D3, D5."""
    table = Table()
    sent = table.call(now=0.0)
    table.leave()
    stream = FakeStream()
    unsent = table.call(now=0.0, deadline=30.0, streams=streams(stream))
    other = table.call(now=0.0, deadline=math.inf)
    assert table.calls.next_deadline == 30
    assert table.timer(29.9) == []
    assert table.timer(30.0) == [unsent]
    assert table.calls.next_deadline == 60
    assert isinstance(unsent.error, DeadlineExceeded)
    assert not unsent.error.may_have_run
    assert stream.resets
    assert table.timer(60.0) == [sent]
    assert isinstance(sent.error, DeadlineExceeded)
    assert sent.error.may_have_run
    assert table.leave() == [[0, 3, "m", None, {"deadline": None}], [3, 1]]
    assert table.calls.next_deadline == math.inf
    assert table.timer(10**9) == []
    assert list(table.calls.calls.values()) == [other]


def test_deadlines_that_pass_one_after_another_cost_the_same_each() -> None:
    """Rule L1: a sweep over all open calls for each of them was 160,000 steps for 400 calls."""
    table = Table(LIMITS._replace(calls=10**6))
    table.calls.send = lambda priority, message: None
    table.calls._forget = lambda priority, message: None
    steps = 0

    def count(frame: Any, event: str, _: Any) -> None:
        nonlocal steps
        steps += event == "call"

    costs = []
    for number in (200, 400):
        for index in range(number):
            table.call(deadline=float(index))
            table.receive(0, 10**6 + index, "m", [], {"deadline": 1 + index * 1000})
        steps = 0
        sys.setprofile(count)
        ended = [event for index in range(number + 1) for event in table.timer(float(index))]
        sys.setprofile(None)
        costs.append(steps)
        assert len([event for event in ended if isinstance(event, Call)]) == number
        assert len([event for event in ended if isinstance(event, tuple)]) == number
        table.end(SessionLost("over"))
        table.calls.begin(lambda priority, message: None, 60.0, 1024)
    assert costs[1] < 2.2 * costs[0]


def test_deadlines_of_calls_that_have_ended_are_not_kept() -> None:
    """Rule L1: an early deadline beside many late ones puts these in order; they must not stay there."""
    table = Table(LIMITS._replace(calls=10**6))
    for turn in range(200):
        late = [table.call(now=float(turn), deadline=10_000.0) for _ in range(10)]
        early = table.call(now=float(turn), deadline=turn + 0.5)
        assert table.timer(turn + 0.5) == [early]
        for call in late:
            table.calls.cancel(call)
    assert len(table.calls._deadlines) <= SPARE_DEADLINES + 2 * 11


def test_the_callee_enforces_the_deadline_too() -> None:
    """Rules D1, D3: its handler is told once."""
    table = Table()
    table.calls.peer_deadline = 10.0
    default, own, never = table.request(1), table.request(2, deadline=2500), table.request(3, deadline=None)
    assert (default.deadline, own.deadline, never.deadline) == (10, 2.5, math.inf)
    assert table.timer(2.5) == [(RequestEnded.DEADLINE, own)]
    assert table.timer(3.0) == []
    assert table.timer(10.0) == [(RequestEnded.DEADLINE, default)]
    assert table.calls.respond(own, error=[4, "too late", None])
    assert table.leave() == [[1, 2, [4, "too late", None], None]]


def test_the_end_of_the_session_tells_whether_a_request_may_have_run() -> None:
    """Rules D5, G5, G2: and keeps the peer's reason."""
    table = Table()
    sent = table.call()
    table.leave()
    unsent = table.call()
    request = table.request(9, depth=1)
    events = table.end(PeerGone("the peer said goodbye: rebooting", reason="reboot"))
    assert events == [sent, unsent, (RequestEnded.SESSION_LOST, request)]
    for call, may_have_run in ((sent, True), (unsent, False)):
        assert isinstance(call.error, PeerGone)
        assert call.error.reason == "reboot"
        assert call.error.may_have_run is may_have_run
        assert "m: the peer said goodbye" in str(call.error)
    assert not table.calls.respond(request, 5)
    assert unsent.take(0.0) is None
    with pytest.raises(SessionLost) as none:
        table.call()
    assert not none.value.may_have_run
    table.calls.begin(table.send, 60.0, 1024)
    again = table.call()
    table.end(SessionLost("damaged"))
    assert type(again.error) is SessionLost
    assert table.calls.open_requests == table.calls.unsent_answers == 0


# -- the peer's requests -----------------------------------------------------------------------------------------------


def test_a_request_gets_exactly_one_response() -> None:
    """Rule C4."""
    table = Table()
    request = table.request(7)
    assert table.calls.open_requests == 1
    stream = FakeStream()
    request.opens = streams(stream)
    assert table.calls.respond(request, "result")
    assert not table.calls.respond(request, "again")
    assert table.leave() == [[1, 7, None, "result"]]
    assert stream.was_opened
    assert table.calls.open_requests == 0


def test_a_response_has_the_class_of_its_request() -> None:
    """Rule P1: and so have the item streams of its params."""
    table = Table()
    items, plain = FakeStream(items=True), FakeStream()
    events = table.receive(0, 1, "m", [], {"priority": URGENT}, streams=streams(items, plain))
    table.calls.respond(events[0], 1)
    assert [priority for priority, _ in table.queue] == [URGENT]
    assert (items.priority, plain.priority) == (URGENT, BULK)
    assert events[0].streams == [items, plain]


def test_a_request_and_its_cancel_in_one_read_never_start_the_handler() -> None:
    """Rule C7: it is answered Cancelled before anybody could start it."""
    table = Table()
    stream = FakeStream()
    (request,) = table.receive(0, 1, "m", [], streams=streams(stream))
    assert table.receive(3, 1) == []
    assert request.answered
    assert stream.resets
    assert table.leave() == [[1, 1, [1, "m: cancelled by the caller", None], None]]
    assert table.receive(3, 1) == []


def test_a_cancelled_handler_still_sends_its_one_response() -> None:
    """Rule C7: until then the id holds its place in the quota."""
    table = Table()
    request = table.request(1)
    request.started = True
    assert table.receive(3, 1) == [(RequestEnded.CANCELLED, request)]
    assert table.calls.open_requests == 1
    assert table.calls.respond(request, error=[1, "cancelled", None])
    for unknown in (1, 99, "x", None, [1]):
        assert table.receive(3, unknown) == []


def test_beyond_the_quota_a_request_is_answered_at_once() -> None:
    """Rule C5: a call is open until its response has been handed to the channel."""
    table = Table()
    requests = [table.request(number) for number in range(3)]
    refused = FakeStream()
    assert table.receive(0, 10, "m", [], {"priority": BULK}, streams=streams(refused)) == []
    assert refused.resets
    assert table.queue[0][0] == BULK
    assert table.leave()[0][2][0] == 17
    assert table.calls.overloads == 1
    table.calls.respond(requests[0], 1)
    assert table.receive(0, 11, "m", []) == []
    table.leave()
    assert len(table.receive(0, 12, "m", [])) == 1


def test_nested_calls_have_their_own_quota() -> None:
    """Rule C6: so call-backs cannot deadlock."""
    table = Table()
    for number in range(3):
        table.request(number)
    nested = [table.request(10 + number, depth=1) for number in range(3)]
    assert table.receive(0, 20, "m", [], {"depth": 2}) == []
    assert table.leave()[0][2][0] == 17
    table.calls.respond(nested[0], 1)
    assert len(table.receive(0, 21, "m", [], {"depth": 4})) == 1
    assert table.receive(0, 22, "m", [], {"depth": 5}) == []
    assert table.leave()[-1][2][0] == 18


def test_a_peer_that_reads_no_answers_is_noticed() -> None:
    """Rule C6: at twice the quota."""
    table = Table()
    for number in range(9):
        assert not is_flooded(table)
        table.receive(0, number, "m", [])
    for number in range(2):
        table.receive(0, 100 + number, "m", [])
    assert is_flooded(table)
    table.leave()
    assert not is_flooded(table)


def test_while_draining_new_requests_are_answered_unavailable() -> None:
    """Rule G1."""
    table = Table()
    running = table.request(1)
    table.calls.draining = True
    assert table.receive(0, 2, "m", []) == []
    assert table.leave()[0][2][0] == 14
    assert table.calls.respond(running, "done")


@pytest.mark.parametrize("message", [
    [0, 5], [0, 5, "m"], [0, 5, "m", [], {}, 1], [0, 5, 7, []], [0, 5, b"m", []], [0, 5, "m", 3], [0, 5, "", []],
])  # fmt: skip
def test_a_request_of_a_wrong_shape_is_answered_if_its_id_can_be_told(message: list[Any]) -> None:
    """Rule C2."""
    table = Table()
    stream = FakeStream()
    assert table.receive(*message, streams=streams(stream)) == []
    assert table.leave()[0][:2] == [1, 5]
    assert table.calls.malformed == 1
    assert stream.resets


@pytest.mark.parametrize("message", [
    [], [0], [0, "x", "m", []], [0, -1, "m", []], [0, None], [1, 1], [2, "m"], [2, 5, []], [2, "m", 5], [3], [9, 1, 2],
    ["0"], [None, 1, 2, 3], [[0], 1, "m", []], {}, "text", None, 5,
])  # fmt: skip
def test_any_other_message_is_counted_and_dropped(message: Any) -> None:
    """Rules C2, V8."""
    table = Table()
    stream = FakeStream()
    events: list[Any] = []
    table.calls.receive(message, 0.0, streams(stream), events)
    assert events == []
    assert table.leave() == []
    assert table.calls.malformed == 1
    assert stream.resets


def test_an_id_in_use_is_not_taken_twice() -> None:
    """Rules C1, C4: the request that is open gets its one response."""
    table = Table()
    request = table.request(1)
    assert table.receive(0, 1, "m", []) == []
    assert table.leave() == []
    table.calls.respond(request, "r")
    assert table.leave() == [[1, 1, None, "r"]]


def test_nil_params_and_positions_and_names_are_accepted() -> None:
    """Rule C1."""
    table = Table()
    for number, params in enumerate((None, [1], {"a": 1})):
        (request,) = table.receive(0, number, "m", params)
        assert request.params == params


@pytest.mark.parametrize("metadata", [5, None, {str(number): 0 for number in range(17)}])
def test_metadata_of_another_shape_counts_as_none(metadata: Any) -> None:
    """Rule C10."""
    (request,) = Table().receive(0, 1, "m", [], metadata)
    assert dict(request.metadata) == {}


def test_metadata_of_wrong_types_counts_as_absent_and_unknown_keys_are_shown() -> None:
    """Rules C10, L1."""
    wrong = {"deadline": "x", "priority": 0, "depth": -1, "other": 1}
    (request,) = Table().receive(0, 1, "m", [], wrong)
    assert (request.deadline, request.priority, request.depth) == (60, NORMAL, 0)
    assert request.metadata == wrong
    (request,) = Table().receive(0, 1, "m", [], {"deadline": -5, "priority": 4, "depth": True})
    assert (request.deadline, request.priority, request.depth) == (60, NORMAL, 0)


def test_a_notification_comes_with_its_metadata() -> None:
    """Rules C1, C10."""
    table = Table()
    stream = FakeStream()
    (plain,) = table.receive(2, "n", None, streams=streams(stream))
    (rich,) = table.receive(2, "n", [1], {"key": "k"})
    (wrong,) = table.receive(2, "n", [1], 5)
    assert isinstance(plain, Notification)
    assert (plain.method, plain.params, dict(plain.metadata)) == ("n", None, {})
    assert plain.streams == streams(stream)
    assert rich.metadata == {"key": "k"}
    assert dict(wrong.metadata) == {}


def test_a_response_that_cannot_be_used_fails_its_call() -> None:
    """Rule P6."""
    table = Table()
    stream = FakeStream()
    call = table.call(streams=streams(stream))
    events: list[Any] = []
    table.calls.fail(1, CallError("too long"), events)
    table.calls.fail(1, CallError("again"), events)
    assert events == [call]
    assert str(call.error) == "too long"
    assert stream.resets


def test_a_hundred_thousand_cancelled_and_timed_out_calls_leave_nothing_behind() -> None:
    """Rules C8, D3."""
    table = Table(LIMITS._replace(calls=10**6))
    queue: dict[Outgoing, None] = {}
    table.calls.send = lambda priority, message: queue.__setitem__(message, None)
    table.calls._forget = lambda priority, message: queue.pop(message, None)
    gc.collect()
    before = len(gc.get_objects())
    events: list[Any] = []
    for number in range(50_000):
        call = table.call(deadline=5.0)
        if number % 2:
            table.calls.cancel(call)
    for _ in range(25_000):
        call = table.call()
        call.left()
        queue.clear()
        table.calls.cancel(call)
    table.calls.handle_timer(6.0, events)
    for number in range(25_000):
        table.calls.receive([0, number, "m", [], {"deadline": 1}], 0.0, None, events)
        table.calls.receive([3, number], 0.0, None, events)
    for message in queue:
        message.left()
    queue.clear()
    table.queue.clear()
    events.clear()
    del call, message
    gc.collect()
    assert not table.calls.calls
    assert not table.calls.requests
    assert table.calls._nested == table.calls.unsent_answers == 0
    assert len(gc.get_objects()) - before < 500


messages = st.lists(
    st.integers(-2, 6) | st.none() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.sampled_from(["deadline", "depth", "priority"]), st.integers(-5, 70) | st.none() | st.text()),
    max_size=6,
)  # fmt: skip


@given(st.lists(messages | st.integers(), max_size=40))
def test_no_sequence_of_messages_breaks_the_bounds(sequence: list[Any]) -> None:
    """Rules C2, C4, C5, C6, L1."""
    table = Table()
    table.call()
    seen: list[Any] = []
    for now, message in enumerate(sequence):
        table.calls.receive(message, float(now), None, seen)
        table.calls.handle_timer(float(now), seen)
        assert table.calls.open_requests <= 2 * LIMITS.calls
        assert table.calls._nested == sum(request.depth > 0 for request in table.calls.requests.values())
    for event in seen:
        if isinstance(event, Request):
            table.calls.respond(event, None)
    answered = [message[1] for message in table.leave(100.0) if message[0] == 1]
    requests = [message for message in sequence if isinstance(message, list) and message[:1] == [0]]
    assert len(answered) <= len(requests)
    assert table.calls.open_requests == table.calls.unsent_answers == 0
