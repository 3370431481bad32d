"""One session beside its connection (docs/protocol.md, sections K and P, rule G5)."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.protocol.pipes import Recorded
from virtagent.errors import SessionLost
from virtagent.protocol.announcement import Agreement, Announcement, Identity
from virtagent.protocol.codec import Codec
from virtagent.protocol.events import Pong
from virtagent.protocol.frames import ALIVE, BATCH, CREDIT, DATA, PING, PONG
from virtagent.protocol.keepalive import Keepalive
from virtagent.protocol.limits import SERIAL, Limits
from virtagent.protocol.messages import MessageReader
from virtagent.protocol.rpc import CallTable
from virtagent.protocol.schedule import BULK
from virtagent.protocol.session import Session
from virtagent.protocol.streams import RECEIVES, REFERENCE, SENDS


def make(rate: int | None = None, limits: Limits = SERIAL, peer_streams: int = 3) -> Session:
    return Session(
        (9, 5),
        Announcement(identity=Identity(), window=100, streams=peer_streams),
        Agreement(1, 256, True, rate, frozenset()),
        limits=limits,
        keepalive=Keepalive(5.0, 5.0, 0.0),
        make_stream=Recorded,
        flush_wanted=lambda: None,
        now=0.0,
    )


def emit(session: Session, now: float) -> list[int]:
    """The kinds of the frames that go next."""
    out: list[Any] = []
    session.emit(now, out)
    return [piece[2] for piece in out if bytes(piece[:2]) == b"\xc1\x56"]


def receive(session: Session, kind: int, payload: bytes, stream: int = 0, now: float = 0.0) -> list[Any]:
    calls = CallTable(SERIAL, Codec(), send=lambda *_: None, forget=lambda *_: None)
    events: list[Any] = []
    session.receive(kind, stream, memoryview(payload), MessageReader(Codec(), calls, lambda _: None), now, events)
    return events


def test_the_higher_tag_opens_odd_streams() -> None:
    """Rule H6."""
    assert make().streams.open(SENDS, BULK)[0].identifier == 1


def test_what_the_peer_announced_holds_for_streams() -> None:
    """Rules T4, T9."""
    session = make()
    stream, _ = session.streams.open(SENDS, BULK)
    stream.opened()
    stream.send(bytes(500))
    emit(session, 0.0)
    assert stream.queued == 400
    assert not session.scheduler.has_data


def test_pings_are_answered_once_per_turn_and_pongs_matched() -> None:
    """Rule K4."""
    session = make()
    for number in range(5):
        receive(session, PING, bytes([number] * 8))
    assert session.has_data
    assert emit(session, 0.0) == [PONG]
    assert session.ping(1.0)
    assert not session.ping(1.0)
    assert emit(session, 1.0) == [PING]
    assert receive(session, PONG, b"short") == []
    assert receive(session, PONG, bytes(8)) == []
    assert receive(session, PONG, bytes(7) + b"\x01", now=1.5) == [Pong(0.5)]
    assert receive(session, PONG, bytes(7) + b"\x01") == []


def test_a_busy_line_is_left_alone_and_what_waits_is_chosen_late() -> None:
    """Rules P7, K4, T5: one pong and the newest credit, however many were wanted meanwhile."""
    session = make(rate=1000)
    stream, _ = session.streams.open(SENDS | RECEIVES, BULK)
    stream.opened()
    stream.send(bytes(100))
    assert emit(session, 0.0) == [DATA]
    for step in range(1, 6):
        receive(session, PING, bytes(8))
        session.streams.grant(stream.identifier, step)
        assert emit(session, 0.0) == []
    assert session.has_data
    free = session.next_timer()
    assert 0.1 < free < 0.14
    assert emit(session, free) == [PONG, CREDIT]
    assert session.next_timer() == pytest.approx(free + 5.0)


def test_a_fast_channel_waits_for_nothing() -> None:
    """Rule P7."""
    session = make()
    assert emit(session, 0.0) == []
    session.ping(0.0)
    assert emit(session, 0.0) == [PING]
    assert session.next_timer() == min(5.0, 15.0)


def test_a_sign_of_life_is_sent_when_nothing_else_was() -> None:
    """Rule K1: one, while the channel takes nothing."""
    session = make()
    assert not session.keep_alive(4.9)
    for moment in (5.0, 10.0, 15.0):
        assert session.keep_alive(moment)
    assert emit(session, 15.0) == [ALIVE]
    assert session.keepalive.last_sent == 15.0


def test_more_control_frames_than_a_reading_peer_can_provoke_are_noticed() -> None:
    """Rule L1."""
    session = make()
    for _ in range(4096 + SERIAL.streams):
        session.scheduler.control(CREDIT, 1, bytes(8))
    floods = [session.scheduler.is_flooded]
    session.scheduler.control(CREDIT, 1, bytes(8))
    floods.append(session.scheduler.is_flooded)
    emit(session, 0.0)
    assert [*floods, session.scheduler.is_flooded] == [False, True, False]


@pytest.mark.parametrize("times", [1, 2])
def test_resetting_all_streams_at_once_is_no_flood_of_the_peers(times: int) -> None:
    """Rule L1: it is this side's decision, unless the peer opens as many again without having read the resets."""
    session = make(limits=SERIAL._replace(streams=6000), peer_streams=6000)
    streams = session.streams
    for number in range(times):
        opened = [streams.accept(REFERENCE.pack(2 * (6000 * number + each + 1), SENDS)) for each in range(6000)]
        for _ in range(6000):
            stream, _ = streams.open(SENDS, BULK)
            stream.opened()
            opened.append(stream)
        for stream in opened:
            stream.reset([1, "not wanted", None])
    assert len(streams) == 0
    assert session.scheduler.is_flooded == (times > 1)


def test_the_end_resets_the_streams_and_statistics_tell_what_was_wrong() -> None:
    """Rule G5."""
    session = make()
    stream, _ = session.streams.open(SENDS, BULK)
    assert session.statistics()["streams"] == 1
    session.end(SessionLost("over"))
    assert stream.closed
    assert set(session.statistics().values()) == {0}
    assert math.isfinite(session.next_timer())
    assert BATCH == 6
