"""Alive or silent (docs/protocol.md, section K)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.protocol.keepalive import Keepalive


def test_a_sign_of_life_is_due_after_a_quiet_interval() -> None:
    """Rule K1."""
    keepalive = Keepalive(5, 0, 100.0)
    assert keepalive.next_timer() == 105
    assert not keepalive.wants_to_send(104.9)
    assert keepalive.wants_to_send(105)
    keepalive.last_sent = 104
    assert not keepalive.wants_to_send(105)
    assert keepalive.next_timer() == 109


def test_without_a_promise_nothing_is_sent_and_nobody_is_judged() -> None:
    """Rules K1, K2."""
    keepalive = Keepalive(0, 0, 100.0)
    assert keepalive.next_timer() == math.inf
    assert not keepalive.wants_to_send(10**9)
    assert not keepalive.judge(10**9)


def test_a_peer_is_silent_after_three_of_its_own_intervals_and_up_again_with_any_frame() -> None:
    """Rule K2."""
    keepalive = Keepalive(1, 5, 100.0)
    keepalive.last_sent = 10**6
    assert not keepalive.judge(114.9)
    assert keepalive.next_timer() == 115
    assert keepalive.judge(115)
    assert not keepalive.judge(116)
    assert keepalive.received(117)
    assert not keepalive.silent
    assert not keepalive.received(118)


def test_a_late_timer_is_no_evidence_of_silence() -> None:
    """Rule K3: it waits one interval more."""
    keepalive = Keepalive(0, 5, 100.0)
    assert not keepalive.judge(1000)
    assert not keepalive.silent
    assert keepalive.next_timer() == 1005
    assert keepalive.judge(1005)


def test_silence_ends_a_session_only_where_the_user_said_so() -> None:
    """Rule K5."""
    patient = Keepalive(0, 5, 100.0)
    assert patient.judge(115)
    assert not patient.is_lost(116)
    assert patient.next_timer() == math.inf
    strict = Keepalive(0, 5, 100.0, lost_after=60)
    assert not strict.is_lost(115)
    assert strict.judge(115)
    assert strict.next_timer() == 160
    assert not strict.is_lost(159)
    assert strict.is_lost(160)


def test_a_late_timer_is_no_evidence_of_a_lost_session_either() -> None:
    """Rules K3, K5: this process was stopped while the peer was silent."""
    keepalive = Keepalive(0, 5, 100.0, lost_after=60)
    assert keepalive.judge(115)
    assert not keepalive.is_lost(1000)
    assert keepalive.next_timer() == 1005
    assert keepalive.is_lost(1005)


def test_a_session_is_not_given_up_before_the_peer_is_silent() -> None:
    """Rule K5: ``lost_after`` below three intervals."""
    keepalive = Keepalive(0, 5, 100.0, lost_after=1)
    assert not keepalive.is_lost(114)
    assert keepalive.judge(115)
    assert keepalive.is_lost(115)


@pytest.mark.parametrize("lost_after", [None, 7.0, 60.0])
@given(steps=st.lists(st.tuples(st.floats(0.01, 40), st.booleans()), max_size=30))
def test_a_timer_that_was_served_is_never_due_again_at_once(
    lost_after: float | None, steps: list[tuple[float, bool]]
) -> None:
    """Rules K1, K2, K3: or the event loop would spin."""
    now = 0.0
    keepalive = Keepalive(2, 3, now, lost_after=lost_after)
    for delay, frame in steps:
        now += delay
        if frame:
            keepalive.received(now)
        keepalive.judge(now)
        if keepalive.is_lost(now):
            return
        if keepalive.wants_to_send(now):
            keepalive.last_sent = now
        assert keepalive.next_timer() > now
