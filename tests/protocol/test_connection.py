"""Two connections over a byte pipe in virtual time (docs/protocol.md, sections F, H, G, K, C, T, P together)."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.pipes import SERIAL, SOCKET, VIRTIO, Facts, Opening, Pair, Recorded, Side
from virtagent.errors import (
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    PeerGone,
    ResourceExhausted,
    SessionLost,
    UsageError,
)
from virtagent.protocol import announcement
from virtagent.protocol.connection import Connection
from virtagent.protocol.events import GoodbyeDone, Liveness, Pong, SessionEnded, SessionUp, Trouble
from virtagent.protocol.frames import BATCH, DATA, FRAGMENT, MESSAGE, PING
from virtagent.protocol.limits import Limits
from virtagent.protocol.rpc import Call, Notification, Request, RequestEnded
from virtagent.protocol.schedule import BULK, NORMAL, URGENT
from virtagent.protocol.streams import ITEMS, RECEIVES, SENDS

CHANNELS = pytest.mark.parametrize("facts", [SOCKET, VIRTIO, SERIAL], ids=["socket", "virtio", "serial"])


def inject(pair: Pair, kind: int, payload: bytes, stream: int = 0) -> None:
    """A frame with the right seed and sequence that the left side's code would never send."""
    session = pair.left.connection._session
    assert session is not None
    pair.right.read(session.writer.frame(kind, stream, payload))


def is_up(side: Side) -> bool:
    return side.connection.up


def recorded(request: Request) -> list[Recorded]:
    """The streams that a request opened."""
    return [stream for stream in request.streams or () if isinstance(stream, Recorded)]


# -- beginning ---------------------------------------------------------------------------------------------------------


@CHANNELS
def test_two_sides_come_up_and_know_each_other(facts: Facts) -> None:
    """Rules H1, H4, H8, H9."""
    pair = Pair(facts, facts).up()
    for side, other in (pair.sides, pair.sides[::-1]):
        (up,) = side.of(SessionUp)
        assert up.peer.identity.name == other.name
        assert up.agreement == side.connection.agreement
        assert up.agreement.check is (facts is not SOCKET)
        assert up.agreement.frame == side.connection.limits.frame
        assert side.connection.statistics()["noise"] == 0
    left, right = (side.connection._session for side in pair.sides)
    assert left is not None
    assert right is not None
    assert left.streams._parity != right.streams._parity


def test_the_stricter_end_of_a_virtio_port_decides() -> None:
    """Rules H9, F5, H11: its host end is a unix socket."""
    pair = Pair(Facts(scheme="unix"), VIRTIO).up()
    agreement = pair.left.connection.agreement
    assert agreement is not None
    assert (agreement.frame, agreement.check) == (64 * 1024, True)


def test_an_acceptor_says_nothing_before_the_first_byte() -> None:
    """Rule H12."""
    pair = Pair()
    for _ in range(5):
        pair.now += 1
        pair.right.connection.handle_timer(pair.now)
        assert not pair.right.connection.has_data
        assert pair.right.take() == b""
    pair.up()


def test_a_hello_that_nobody_answers_is_repeated_ever_more_slowly() -> None:
    """Rule H10."""
    pair = Pair()
    pair.right.deaf = True
    times = []
    pair.left.transform = lambda data: times.append(pair.now) or data  # type: ignore[func-returns-value]
    pair.advance(10)
    gaps = [round(later - earlier, 2) for earlier, later in pairwise(times)]
    assert gaps[:8] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_one_side_may_come_later_or_begin_anew_at_any_time() -> None:
    """Rules H1, H2, G5: a restart is noticed, and everything of the old session has ended."""
    pair = Pair(VIRTIO, VIRTIO).up()
    call = pair.left.call("slow")
    pair.pump()
    pair.right.start()
    pair.advance(3)
    assert pair.left.connection.up
    assert pair.right.connection.up
    assert isinstance(call.error, SessionLost)
    assert "began a new session" in str(call.error)
    kinds = [type(event) for event in pair.left.events]
    assert kinds == [SessionUp, Call, SessionEnded, SessionUp]
    answer = pair.left.call("again")
    pair.pump()
    pair.right.connection.respond(pair.right.requests[-1], "yes")
    pair.pump()
    assert answer.result == "yes"


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([VIRTIO, SERIAL, SOCKET]),
    st.lists(st.tuples(st.floats(0.0, 3.0), st.sampled_from(["left", "right", "call", "cut", "half"])), max_size=8),
    st.integers(0, 2**32),
)
def test_whatever_restarts_and_losses_come_both_sides_are_up_again_by_themselves(
    facts: Facts, story: list[tuple[float, str]], seed: int
) -> None:
    """Rules H1, H5, H10, H11, F4, G4."""
    pair = Pair(facts, facts, seed=seed)
    calls: list[Any] = []
    for seconds, what in story:
        pair.advance(seconds)
        if what in ("left", "right"):
            getattr(pair, what).start()
            calls = calls if what == "right" else []
        elif what == "call" and pair.left.connection.up:
            calls.append(pair.left.call("m", [bytes(300)]))
        elif what == "cut" and pair.left.connection.up and pair.left.connection.ping(pair.now):
            pair.left.take()
        elif what == "half" and pair.left.connection.up and facts is not SOCKET:
            pair.left.call("m", [bytes(20_000)])
            pair.right.incoming += pair.left.take()[:150]
            pair.left.start()
            calls = []
    pair.advance(12)
    for side in pair.sides:
        assert side.connection.up
    # one session, and it works
    answer = pair.left.call("last")
    pair.advance(2)
    assert pair.right.connection.respond(pair.right.requests[-1], 5)
    pair.advance(2)
    assert answer.result == 5
    pair.left.connection.channel_lost(pair.now, "over")
    assert all(call.error is not None for call in calls)


def test_the_half_frame_of_a_dead_process_does_not_keep_the_next_one_out() -> None:
    """Rule H11: the receiver waits for 60,000 bytes that never come; pad completes them."""
    pair = Pair(Facts(scheme="unix"), VIRTIO).up()
    pair.left.call("big", [bytes(60_000)])
    pair.right.incoming += pair.left.take()[:100]
    pair.left.start()
    pair.advance(1.0)
    assert pair.left.connection.up
    assert pair.right.connection.up
    assert pair.right.of(SessionEnded)
    statistics = pair.right.connection.statistics()
    assert statistics["pad"] > 2048
    assert statistics["bad_payloads"] == 1


def test_pad_is_no_noise() -> None:
    """Rule F6."""
    pair = Pair(VIRTIO, VIRTIO)
    pair.right.read(bytes(5000))
    assert pair.right.connection.statistics()["pad"] == 5000 - 15 or pair.right.connection.statistics()["pad"] == 5000
    assert pair.right.connection.statistics()["noise"] == 0
    pair.up()


def test_noise_in_a_session_costs_nothing_but_a_probe() -> None:
    """Rule F6 and section H: rate-limited."""
    pair = Pair(SERIAL, SERIAL).up()
    for _ in range(5):
        pair.right.read(b"login: Password: kernel panic" * 3)
    assert pair.right.connection.has_data
    pair.advance(2)
    assert len(pair.left.of(SessionUp)) == len(pair.right.of(SessionUp)) == 1
    assert pair.right.connection.statistics()["noise"] > 0


def test_without_a_common_version_the_user_is_told_and_no_session_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule H9."""
    pair = Pair()
    monkeypatch.setattr(announcement, "VERSIONS", (1,))
    mine = pair.right.connection._mine
    assert mine is not None
    pair.right.connection._mine = mine._replace(versions=(7, 8))
    pair.advance(2)
    assert not pair.left.connection.up
    assert not pair.right.connection.up
    trouble = pair.right.of(Trouble)[0]
    assert trouble.kind == "version"
    assert "version 1, this side 7, 8" in trouble.text


def test_a_line_that_echoes_is_told_once_and_never_taken_for_a_peer() -> None:
    """Rule H7."""
    pair = Pair(SERIAL, SERIAL)
    pair.right.deaf = True
    for _ in range(40):
        pair.left.read(pair.left.take())
        pair.now += 0.5
        pair.left.connection.handle_timer(pair.now)
    assert [trouble.kind for trouble in pair.left.of(Trouble)] == ["echo"]
    assert "not raw" in pair.left.of(Trouble)[0].text
    assert not pair.left.connection.up
    assert pair.left.connection.statistics()["echoes"] >= 3


@pytest.mark.parametrize("payload", [b"", b"short", bytes(19), bytes(20), b"x" * 20 + b"\xc1"])
def test_a_hello_that_cannot_be_read_is_ignored(payload: bytes) -> None:
    """Rules H8, L1."""
    from virtagent.protocol.frames import encode_hello_frame

    pair = Pair()
    pair.right.read(encode_hello_frame(payload))
    assert pair.right.events == []
    pair.up()


def test_a_frame_may_come_before_the_hello_that_was_lost() -> None:
    """Rule H5: it confirms the session, and counts."""
    pair = Pair(VIRTIO, VIRTIO)
    lost: list[bytes] = []
    while not is_up(pair.left):
        for sender, receiver in ((pair.left, pair.right), (pair.right, pair.left)):
            data = sender.take()
            if sender is pair.left and is_up(pair.left):
                lost.append(data)
            else:
                receiver.read(data)
        pair.now += 0.05
        for side in pair.sides:
            side.events += side.connection.handle_timer(pair.now)
    pair.left.take()
    assert not is_up(pair.right)
    pair.left.call("first")
    pair.left.connection.ping(pair.now)
    pair.right.read(pair.left.take())
    assert is_up(pair.right)
    assert [request.method for request in pair.right.requests] == ["first"]
    pair.advance(1)
    assert pair.left.of(Pong)
    assert len(pair.left.of(SessionUp)) == 1


# -- calls -------------------------------------------------------------------------------------------------------------


@CHANNELS
def test_calls_go_both_ways_whatever_their_size(facts: Facts) -> None:
    """Rules C1, C4, P4, F5."""
    pair = Pair(facts, facts).up()
    for caller, callee in (pair.sides, pair.sides[::-1]):
        for size in (0, 10, 3000, 300_000 if facts is not SERIAL else 20_000):
            call = caller.call("echo", [bytes(size)], deadline=pair.now + 600)
            pair.advance(20)
            request = callee.requests[-1]
            assert request.params == [bytes(size)]
            callee.connection.respond(request, request.params)
            pair.advance(20)
            assert call.result == [bytes(size)]
        caller.connection.notify("hint", {"a": 1})
        pair.pump()
        pair.advance(1)
        assert callee.of(Notification)[-1].params == {"a": 1}


def test_a_thousand_small_calls_share_frames() -> None:
    """Rule P4."""
    pair = Pair(right_options={"limits": Limits()._replace(calls=5000)}).up()
    calls = [pair.left.call("m", [number]) for number in range(1000)]
    assert len(pair.left.connection.data_to_send(pair.now)) == 1
    pair = Pair(right_options={"limits": Limits()._replace(calls=5000)}).up()
    calls = [pair.left.call("m", [number]) for number in range(1000)]
    pair.pump()
    for request in pair.right.requests:
        pair.right.connection.respond(request, request.params[0])
    pair.pump()
    assert [call.result for call in calls] == list(range(1000))


def test_without_a_session_nothing_can_be_sent() -> None:
    """Rules D5, G5."""
    pair = Pair()
    with pytest.raises(SessionLost) as lost:
        pair.left.call()
    assert not lost.value.may_have_run
    with pytest.raises(SessionLost):
        pair.left.connection.notify("n", [])
    with pytest.raises(UsageError):
        pair.left.connection.open_stream(SENDS)
    assert not pair.left.connection.goodbye("stop", "", pair.now)
    assert not pair.left.connection.ping(pair.now)
    assert pair.left.connection.streams is None
    assert not pair.left.connection.silent
    with pytest.raises(UsageError):
        pair.left.call("")
    pair.left.connection._queue_message(2, Call(1, "m", b"", 0.0))
    pair.left.connection._forget_message(2, Call(1, "m", b"", 0.0))


def test_a_call_that_is_not_answered_fails_at_its_deadline_on_both_sides() -> None:
    """Rules D1, D2, D3."""
    pair = Pair().up()
    call = pair.left.call("slow", deadline=pair.now + 2)
    pair.pump()
    request = pair.right.requests[0]
    request.started = True
    pair.advance(2.5)
    assert isinstance(call.error, DeadlineExceeded)
    ends = [event for event in pair.right.events if isinstance(event, tuple)]
    assert {what for what, _ in ends} == {RequestEnded.DEADLINE, RequestEnded.CANCELLED}


def test_the_default_deadline_is_the_callers() -> None:
    """Rule D1."""
    pair = Pair(left_options={"deadline": 7.0}).up()
    pair.left.call("slow")
    pair.right.call("slow")
    pair.pump()
    assert pair.right.requests[0].deadline == pytest.approx(pair.now + 7)
    assert pair.left.requests[0].deadline == pytest.approx(pair.now + 60)


def test_a_half_sent_call_can_be_taken_back() -> None:
    """Rules C8, P5: the callee never sees it."""
    pair = Pair(SERIAL, SERIAL).up()
    call = pair.left.call("long", [bytes(50_000)])
    pair.advance(0.3)
    assert not call.has_left
    pair.left.connection.cancel(call)
    pair.advance(5)
    assert pair.right.requests == []
    session = pair.right.connection._session
    assert session is not None
    assert len(session._reassembly) == 0
    assert not pair.left.connection.has_data


def test_a_message_that_is_too_long_costs_its_call_only() -> None:
    """Rule P6: a request, and a response."""
    pair = Pair(
        left_options={"limits": Limits()._replace(message=300_000)},
        right_options={"limits": Limits()._replace(message=300_000)},
    ).up()
    for side in pair.sides:
        side.connection.calls.message_limit = 10**9
    other, call = pair.left.call("small"), pair.left.call("big", [bytes(400_000)])
    pair.pump()
    assert isinstance(call.error, ResourceExhausted)
    assert "limit is 300000" in str(call.error)
    (request,) = pair.right.requests
    pair.right.connection.respond(request, bytes(400_000))
    pair.pump()
    assert isinstance(other.error, ResourceExhausted)
    assert pair.left.connection.up
    assert pair.right.connection.statistics()["refused_messages"] == 1


def test_a_peer_that_knows_the_limit_is_told_at_once() -> None:
    """Rules P6, H8."""
    pair = Pair(right_options={"limits": Limits()._replace(message=1000)}).up()
    with pytest.raises(UsageError, match="the peer accepts 1000"):
        pair.left.call("big", [bytes(2000)])
    assert pair.left.connection.streams is not None
    opening = Opening(SENDS)
    with pytest.raises(UsageError):
        pair.left.call("big", [opening, bytes(2000)])
    with pytest.raises(UsageError):
        pair.left.connection.notify("big", [Opening(SENDS), bytes(2000)])
    assert len(pair.left.connection.streams) == 0
    assert opening.stream.closed
    pair.right.call("m")
    pair.pump()
    with pytest.raises(UsageError):
        pair.left.connection.respond(pair.left.requests[0], [Opening(SENDS), object()])
    assert len(pair.left.connection.streams) == 0
    assert pair.left.connection.respond(pair.left.requests[0], "plain")


def test_an_urgent_call_is_answered_while_bulk_flows() -> None:
    """Rules P1, P7, T10."""
    pair = Pair(SERIAL, SERIAL).up()
    opening = Opening(SENDS)
    pair.left.call("upload", [opening])
    opening.stream.send(bytes(200_000))
    pair.advance(2)
    call = pair.left.call("urgent", priority=URGENT, metadata={"priority": URGENT})
    pair.left.connection.ping(pair.now)
    pair.advance(0.3)
    assert pair.left.of(Pong)
    pair.right.connection.respond(pair.right.requests[-1], "now")
    pair.advance(0.3)
    assert call.result == "now"
    assert opening.stream.queued > 0


# -- streams -----------------------------------------------------------------------------------------------------------


@CHANNELS
def test_streams_go_both_ways(facts: Facts) -> None:
    """Rules T1, T2, T3, T4, T5, T7."""
    pair = Pair(facts, facts).up()
    size = 30_000 if facts is SERIAL else 3_000_000
    data = random.Random(5).randbytes(size)
    up, down = Opening(SENDS), Opening(RECEIVES | ITEMS)
    call = pair.left.call("transfer", [up, {"down": down}])
    up.stream.send(data)
    up.stream.end()
    pair.advance(1)
    (request,) = pair.right.requests
    assert request.streams is not None
    theirs, back = request.streams
    assert isinstance(theirs, Recorded)
    assert request.params == [theirs, {"down": back}]
    back.send(data)
    back.end()
    pair.right.connection.respond(request, None)
    pair.advance(20)
    assert theirs.data == data
    assert down.stream.data == data
    assert call.error is None
    for side in pair.sides:
        assert side.connection.streams is not None
        assert len(side.connection.streams) == 0
        assert side.connection.statistics()["overruns"] == 0


def test_a_result_may_open_a_stream_that_outlives_the_call() -> None:
    """Rules T1, D6."""
    pair = Pair().up()
    call = pair.left.call("tail", deadline=pair.now + 1)
    pair.pump()
    opening = Opening(SENDS)
    pair.right.connection.respond(pair.right.requests[0], {"log": opening})
    pair.pump()
    stream = call.result["log"]
    pair.advance(10)
    opening.stream.send(b"still here")
    pair.pump()
    assert stream.data == b"still here"
    opening.stream.end([5, "the log is gone", None])
    pair.pump()
    assert stream.ends[0].code == 5


def test_a_stream_in_an_answer_that_nobody_waits_for_is_reset() -> None:
    """Rule T11."""
    pair = Pair().up()
    call = pair.left.call("tail")
    pair.pump()
    opening = Opening(SENDS)
    pair.right.connection.respond(pair.right.requests[0], [opening])
    pair.left.connection.cancel(call)
    pair.pump()
    assert opening.stream.closed
    assert [side.connection.statistics()["streams"] for side in pair.sides] == [0, 0]


def test_a_stream_of_a_call_that_was_cancelled_or_timed_out_unsent_is_forgotten() -> None:
    """Rules C8, T2: its place is free again."""
    pair = Pair(SERIAL, SERIAL).up()
    for cancels in (True, False):
        first = pair.left.call("long", [bytes(30_000)])
        opening = Opening(SENDS)
        call = pair.left.call("upload", [opening, bytes(3000)], deadline=pair.now + 0.01)
        if cancels:
            pair.left.connection.cancel(call)
        else:
            pair.now += 0.02
            pair.left.connection.handle_timer(pair.now)
        assert opening.stream.closed
        pair.left.connection.cancel(first)
        pair.advance(1)
    assert pair.left.connection.streams is not None
    assert (len(pair.left.connection.streams), pair.left.connection.streams._mine) == (0, 0)


def test_more_streams_than_agreed_are_refused_with_the_message_that_carried_them() -> None:
    """Rule T9: a request is answered, and whatever a notification would have opened is reset."""
    pair = Pair(right_options={"limits": Limits()._replace(streams=2)}).up()
    streams = pair.left.connection.streams
    assert streams is not None
    streams._peer_streams = 100
    openings = [Opening(SENDS) for _ in range(3)]
    call = pair.left.call("m", openings)
    pair.pump()
    assert isinstance(call.error, ResourceExhausted)
    assert "2 open streams" in str(call.error)
    assert all(opening.stream.closed for opening in openings)
    assert pair.right.requests == []
    several = [Opening(SENDS) for _ in range(4)]
    pair.left.connection.notify("n", several)
    pair.pump()
    assert [opening.stream.closed for opening in several] == [True] * 4
    kept = [Opening(SENDS) for _ in range(2)]
    pair.left.call("m", kept)
    pair.pump()
    assert len(pair.right.requests) == 1
    assert len(streams) == 2
    assert pair.left.connection.up
    assert pair.right.connection.statistics()["refused_streams"] > 0


def test_a_reference_of_the_wrong_parity_makes_its_request_invalid() -> None:
    """Rules T9, C2, H6."""
    pair = Pair().up()
    streams = pair.left.connection.streams
    assert streams is not None
    streams._next += 1
    call = pair.left.call("m", [Opening(SENDS)])
    pair.pump()
    assert isinstance(call.error, InvalidRequest)
    assert pair.right.requests == []
    assert pair.left.connection.up


def test_data_beyond_the_credit_costs_the_stream_only() -> None:
    """Rule T6."""
    pair = Pair().up()
    opening = Opening(SENDS)
    pair.left.call("m", [opening])
    pair.pump()
    opening.stream._send_limit = 10**9
    (theirs,) = recorded(pair.right.requests[0])
    theirs.reads_at_once = False
    opening.stream.send(bytes(10**6))
    pair.pump()
    assert opening.stream.closed
    assert pair.right.connection.statistics()["overruns"] == 1
    assert pair.left.connection.up


# -- bad messages ------------------------------------------------------------------------------------------------------


def test_a_frame_that_is_no_msgpack_ends_the_session_and_a_new_one_begins() -> None:
    """Rules V8, G4, G5."""
    for kind, payload in ((MESSAGE, b"\xc1"), (BATCH, b"\xc1"), (BATCH, b"\x05"), (BATCH, b"\x92\x01"), (BATCH, b""),
                          (BATCH, b"\x92\x81\x01\x01\xc1"), (FRAGMENT | 0x30, bytes(4))):  # fmt: skip
        pair = Pair().up()
        call = pair.right.call()
        inject(pair, kind, payload)
        assert pair.right.connection.violations == 1
        assert isinstance(call.error, SessionLost)
        assert "broke the protocol" in str(call.error)
        pair.advance(3)
        assert pair.left.connection.up
        assert pair.right.connection.up
        assert [type(event) for event in pair.right.events] == [SessionUp, Call, SessionEnded, SessionUp]


def test_a_gap_ends_the_session_and_a_new_one_begins() -> None:
    """Rules F4, G4."""
    pair = Pair(SERIAL, SERIAL).up()
    pair.left.call("lost")
    pair.left.take()
    pair.left.connection.ping(pair.now)
    pair.advance(3)
    (ended,) = pair.right.of(SessionEnded)
    assert "missing or repeated" in str(ended.error)
    assert len(pair.left.of(SessionUp)) == 2


def test_a_damaged_payload_is_never_used() -> None:
    """Rules F5, F4: where payload checks were agreed."""
    pair = Pair(VIRTIO, VIRTIO).up()

    def damage(data: bytes) -> bytes:
        pair.left.transform = None
        at = data.index(b"secret")
        return data[:at] + b"S" + data[at + 1 :]

    pair.left.transform = damage
    call = pair.left.call("m", ["secret"])
    pair.advance(5)
    assert pair.right.requests == []
    assert isinstance(call.error, SessionLost)
    assert pair.left.connection.up


def test_one_bad_message_of_a_batch_costs_that_message_only() -> None:
    """Rules C2, V6, V8, P4: the good ones keep their streams."""
    pair = Pair().up()
    good, bad, also = Opening(SENDS), Opening(SENDS), Opening(SENDS)
    one = pair.left.call("good", [good])
    wrong = pair.left.call("bad", [bad, {1: 2}])
    two = pair.left.call("good", {"x": also})
    assert len(pair.left.connection.data_to_send(pair.now)) == 1  # they shared a frame
    pair = Pair().up()
    good, bad, also = Opening(SENDS), Opening(SENDS), Opening(SENDS)
    one = pair.left.call("good", [good])
    wrong = pair.left.call("bad", [bad, {1: 2}])
    two = pair.left.call("good", {"x": also})
    pair.pump()
    assert isinstance(wrong.error, InvalidRequest)
    assert [request.method for request in pair.right.requests] == ["good", "good"]
    for opening, request in zip((good, also), pair.right.requests, strict=True):
        opening.stream.send(b"data")
        pair.pump()
        (theirs,) = recorded(request)
        assert theirs.data == b"data"
        pair.right.connection.respond(request, 1)
    pair.pump()
    assert (one.result, two.result) == (1, 1)
    assert bad.stream.closed


def test_an_answer_that_cannot_be_accepted_fails_its_call() -> None:
    """Rules C2, V6."""
    pair = Pair().up()
    call = pair.left.call()
    pair.pump()
    pair.right.connection.respond(pair.right.requests[0], {1: 2})
    pair.pump()
    assert isinstance(call.error, InvalidRequest)
    assert pair.left.connection.up


def test_an_error_value_beyond_repr_ends_its_call_and_nothing_else() -> None:
    """Rules C3, V7, L1."""
    pair = Pair().up()
    call = pair.right.call()
    pair.pump()
    inject(pair, MESSAGE, b"\x94\x01\x01" + b"\x91" * 900 + b"\xc0" + b"\xc0")
    assert call.error is not None
    assert pair.right.connection.up


def test_kinds_that_are_not_known_are_counted_in_the_sequence_and_ignored() -> None:
    """Rule F7."""
    pair = Pair().up()
    for kind in (12, 13, 14, 15, 2 | 0xF0):
        inject(pair, kind, b"whatever")
    pair.left.call("after")
    pair.pump()
    assert len(pair.right.requests) == 1
    assert len(pair.right.of(SessionUp)) == 1


@pytest.mark.parametrize("kind", ["requests", "streams"])
def test_a_peer_that_provokes_answers_and_reads_none_loses_the_session(kind: str) -> None:
    """Rules C6, G4, L1."""
    limits = Limits()._replace(calls=10, streams=1000)
    pair = Pair(right_options={"limits": limits}).up()
    for number in range(10_000):
        if kind == "requests":
            inject(pair, MESSAGE, b"\x94\x00\xcd" + number.to_bytes(2, "big") + b"\xa1m\x90")
        else:  # each reference opens a stream that nobody takes: a RESET waits for each
            own = 1 if pair.left.connection.streams._parity else 2  # type: ignore[union-attr]
            inject(pair, MESSAGE, b"\x91\xc7\x05\x01" + (own + 2 * number).to_bytes(4, "big") + b"\x01")
        if pair.right.connection.violations:
            break
    assert pair.right.connection.violations == 1
    assert number <= (10 + 20 + 2 if kind == "requests" else 4096 + 1000)
    assert not pair.right.connection.up


def test_one_pong_is_queued_however_many_pings_come() -> None:
    """Rule K4: also while a slow line is busy."""
    pair = Pair(SERIAL, SERIAL).up()
    pair.right.call("m", [bytes(5000)])
    for number in range(50):
        inject(pair, PING, number.to_bytes(8, "big"))
        pair.right.take()
    session = pair.right.connection._session
    assert session is not None
    assert len(session.scheduler._control) <= 1


def test_beyond_the_quota_a_call_is_answered_overloaded() -> None:
    """Rule C5."""
    pair = Pair(right_options={"limits": Limits()._replace(calls=2)}).up()
    calls = [pair.left.call() for _ in range(3)]
    pair.pump()
    assert isinstance(calls[2].error, Overloaded)
    assert len(pair.right.requests) == 2


# -- pace --------------------------------------------------------------------------------------------------------------


def test_a_slow_line_is_never_handed_more_than_it_carries_soon() -> None:
    """Rule P7: 50 ms of line time and what was still below."""
    rate = 11520
    pair = Pair(SERIAL, SERIAL).up()
    pair.advance(1)
    opening = Opening(SENDS)
    pair.left.call("upload", [opening])
    opening.stream.send(bytes(50_000))
    below, last, handed = 0.0, pair.now, 0

    def measure(data: bytes) -> bytes:
        nonlocal below, last, handed
        below = max(0.0, below - (pair.now - last)) + len(data) / rate
        last = pair.now
        handed += len(data)
        assert below <= 0.065
        return data

    pair.left.transform = measure
    pair.advance(5)
    assert handed > 50_000


def test_a_fast_channel_is_handed_about_64_kib_at_a_time() -> None:
    """Rule P7."""
    pair = Pair(VIRTIO, VIRTIO).up()
    opening = Opening(SENDS)
    pair.left.call("upload", [opening])
    pair.pump()
    opening.stream._send_limit = 10**9
    opening.stream.send(bytes(10**6))
    assert 60_000 < len(pair.left.take()) < 2 * 65_600


def test_a_stream_of_items_has_the_class_of_the_message_that_opens_it() -> None:
    """Rule P1: what an urgent call is answered with is urgent; bytes are bulk all the same."""
    pair = Pair().up()
    for priority in (URGENT, NORMAL, BULK):
        asked = [Opening(SENDS | ITEMS), Opening(SENDS)]
        pair.right.connection.call("m", asked, pair.now, priority=priority, metadata={"priority": priority})
        pair.pump()
        answered = [Opening(SENDS | ITEMS), Opening(SENDS)]
        pair.left.connection.respond(pair.left.requests[-1], answered)
        for items, plain in (asked, answered):
            assert items.stream.priority == priority
            assert plain.stream.priority == BULK


# -- goodbye -----------------------------------------------------------------------------------------------------------


def test_a_goodbye_is_acknowledged_and_tells_its_reason() -> None:
    """Rules G1, G2, G3."""
    pair = Pair().up()
    theirs = pair.right.call("slow")
    pair.pump()
    assert pair.left.connection.goodbye("shutdown", "the machine goes down", pair.now)
    late = pair.right.call("late")
    pair.pump()
    assert [event.acknowledged for event in pair.left.of(GoodbyeDone)] == [True]
    assert not pair.left.connection.up
    for call in (theirs, late):
        assert isinstance(call.error, PeerGone)
        assert call.error.reason == "shutdown"
    (ended,) = pair.right.of(SessionEnded)
    assert "the machine goes down" in str(ended.error)
    assert pair.left.take() == b""
    pair.right.deaf = True
    pair.advance(10)
    assert not pair.left.connection.has_data


def test_a_goodbye_leaves_behind_what_was_queued_before_it() -> None:
    """Rule G1: on a slow line an answer takes seconds to leave, and it must arrive all the same."""
    pair = Pair(SERIAL).up()
    call = pair.right.call("big")
    pair.pump()
    (request,) = pair.left.of(Request)
    pair.left.connection.respond(request, bytes(30_000))
    assert pair.left.connection.goodbye("stop", "", pair.now)
    pair.advance(8)
    assert call.error is None
    assert call.result == bytes(30_000)
    assert [event.acknowledged for event in pair.left.of(GoodbyeDone)] == [True]


def test_after_a_goodbye_the_peer_is_left_in_peace_for_two_seconds() -> None:
    """Rules H10, G2."""
    pair = Pair(VIRTIO, VIRTIO).up()
    pair.left.connection.goodbye("stop", "", pair.now)
    pair.pump()
    pair.left.deaf = True
    start = pair.now
    while not pair.right.take():
        pair.now = pair.right.connection.next_timer_at
        pair.right.connection.handle_timer(pair.now)
    assert pair.now - start == pytest.approx(2.0)


def test_a_goodbye_that_is_not_acknowledged_is_given_up() -> None:
    """Rule G3: the user is told that the tail may be lost."""
    pair = Pair().up()
    pair.right.deaf = True
    pair.left.connection.goodbye("stop", "", pair.now)
    pair.advance(1.9)
    assert not pair.left.of(GoodbyeDone)
    pair.advance(0.2)
    assert [event.acknowledged for event in pair.left.of(GoodbyeDone)] == [False]
    assert not pair.left.connection.up


def test_two_goodbyes_that_cross_are_both_done() -> None:
    """Rules G2, G3."""
    pair = Pair().up()
    for side in pair.sides:
        side.connection.goodbye("stop", "", pair.now)
    pair.pump()
    for side in pair.sides:
        assert [event.acknowledged for event in side.of(GoodbyeDone)] == [True]
        assert not side.connection.up


def test_a_channel_that_goes_takes_everything_with_it() -> None:
    """Rule G5."""
    pair = Pair().up()
    call = pair.left.call()
    opening = Opening(SENDS)
    pair.left.connection.notify("n", [opening])
    pair.pump()
    pair.left.connection.goodbye("stop", "", pair.now)
    events = pair.left.connection.channel_lost(pair.now, "the peer closed the connection")
    assert [type(event) for event in events] == [GoodbyeDone, Call, SessionEnded]
    assert isinstance(call.error, SessionLost)
    assert opening.stream.resets
    assert not pair.left.connection.has_data
    assert pair.left.connection.handle_timer(pair.now + 100) == []
    pair.left.read(b"late bytes")
    pair.left.connection.channel_made(SOCKET, connecting=True, now=pair.now)
    pair.right.connection.channel_lost(pair.now, "")
    pair.right.connection.channel_made(SOCKET, connecting=False, now=pair.now)
    pair.up()


def test_an_acknowledgement_that_nobody_waits_for_is_ignored() -> None:
    """Rule G2."""
    pair = Pair().up()
    inject(pair, 1 | 0x10, b"")
    assert pair.right.connection.up


# -- alive -------------------------------------------------------------------------------------------------------------


def test_idle_sides_stay_up_for_ever() -> None:
    """Rules K1, K2."""
    pair = Pair().up()
    pair.advance(600)
    for side in pair.sides:
        assert not side.of(Liveness)
        assert side.connection.up


def test_a_peer_that_stops_is_silent_then_up_again() -> None:
    """Rules K2, K4, K5: the session survives."""
    pair = Pair().up()
    pair.right.deaf = True
    pair.advance(16)
    assert [event.silent for event in pair.left.of(Liveness)] == [True]
    pair.advance(100)
    pair.right.deaf = False
    pair.advance(6)
    assert [event.silent for event in pair.left.of(Liveness)] == [True, False]
    assert not pair.left.connection.silent
    assert len(pair.left.of(SessionUp)) == 1
    assert pair.left.of(Pong)


def test_silence_ends_the_session_where_the_user_said_so() -> None:
    """Rule K5."""
    pair = Pair(left_options={"lost_after": 30.0}).up()
    pair.right.deaf = True
    pair.advance(31)
    (ended,) = pair.left.of(SessionEnded)
    assert "silent for too long" in str(ended.error)


def test_a_process_that_was_stopped_does_not_blame_its_peer() -> None:
    """Rule K3."""
    pair = Pair(left_options={"lost_after": 30.0}).up()
    pair.now += 3600
    pair.left.events += pair.left.connection.handle_timer(pair.now)
    assert not pair.left.of(Liveness)
    assert pair.left.connection.up
    pair.advance(60)
    assert pair.left.connection.up


def test_a_channel_that_takes_nothing_gathers_no_signs_of_life() -> None:
    """Rules K1, L1: a paused guest for a week; afterwards the session goes on."""
    pair = Pair().up()
    for _ in range(20_000):
        pair.now += 30.0
        pair.left.connection.handle_timer(pair.now)
    session = pair.left.connection._session
    assert session is not None
    assert len(session.scheduler._control) <= 2
    pair.right.connection.handle_timer(pair.now)
    pair.advance(30)
    assert pair.left.connection.up
    assert len(pair.left.of(SessionUp)) == 1


def test_two_sides_that_believe_in_different_sessions_find_each_other() -> None:
    """Rules H2, K4: after a restored snapshot, silence probes."""
    pair = Pair(VIRTIO, VIRTIO).up()
    old = pair.right.connection
    pair.right.start()
    pair.advance(3)
    assert len(pair.left.of(SessionUp)) == 2
    pair.right.connection = old  # the snapshot, which knows nothing of the second session
    pair.advance(60)
    assert pair.left.connection.up
    assert old.up
    pair.right.events.clear()
    call = pair.left.call("again")
    pair.pump()
    old.respond(pair.right.requests[-1], 1)
    pair.pump()
    assert call.result == 1


def test_a_ping_is_answered_with_its_time() -> None:
    """Rule K4: at most one is unanswered."""
    pair = Pair().up()
    assert pair.left.connection.ping(pair.now)
    assert not pair.left.connection.ping(pair.now)
    data = pair.left.take()
    pair.now += 0.25
    pair.right.read(data)
    inject(pair, 4, b"not mine")
    pair.pump()
    assert [event.seconds for event in pair.left.of(Pong)] == [0.25]
    assert pair.left.connection.ping(pair.now)


# -- the verbs ---------------------------------------------------------------------------------------------------------


def test_bytes_may_be_received_in_place_one_at_a_time() -> None:
    """Rule F8."""
    pair = Pair(VIRTIO, VIRTIO)

    def trickle(connection: Connection, data: bytes) -> list[Any]:
        events: list[Any] = []
        for byte in data:
            buffer = connection.get_buffer()
            buffer[0] = byte
            events += connection.received(1, pair.now)
        return events

    pair.right.read = lambda data: pair.right.events.extend(trickle(pair.right.connection, data))  # type: ignore[method-assign]
    pair.up()
    pair.left.call("m", [bytes(1000)])
    pair.pump()
    assert pair.right.requests[0].params == [bytes(1000)]


def test_the_next_timer_is_never_later_than_a_deadline() -> None:
    """Rule D3."""
    pair = Pair().up()
    call = pair.left.call(deadline=pair.now + 0.001)
    assert pair.left.connection.next_timer_at <= call.deadline
    pair.pump()
    assert pair.right.connection.next_timer_at <= pair.now + 0.001


def test_data_frames_of_an_unknown_stream_are_ignored() -> None:
    """Rule T8."""
    pair = Pair().up()
    inject(pair, DATA, b"x", 77)
    assert pair.right.connection.up
