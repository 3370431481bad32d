"""The handshake, row by row and rule by rule, in virtual time (docs/protocol.md, section H).

``T`` is this side's first tag, ``C`` what it draws next; ``P``, ``N`` and ``G`` are a peer, a new sender and a ghost.
"""

from __future__ import annotations

from collections import deque
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.protocol.hello import HEAD, Handshake, HelloHead, Outcome

T, C, C2 = 101, 102, 103
P, N, G = 7001, 7002, 7003
MINE, THEIRS = 0xAAAA, 0xBBBB


def hello(tag: int, echo: int = 0, session: int = 0, instance: int = THEIRS) -> HelloHead:
    return HelloHead(tag, echo, session, instance)


def mine(tag: int, echo: int, session: int) -> HelloHead:
    return HelloHead(tag, echo, session, MINE)


def fresh(now: float = 0.0) -> Handshake:
    """A side in HELLO that has sent its first hello."""
    shake = Handshake(count(T).__next__, MINE, now)
    assert shake.to_send(now) == mine(T, 0, 0)
    return shake


def up(now: float = 0.0) -> Handshake:
    """A side in UP with P, quiet."""
    shake = fresh(now)
    assert shake.receive(hello(P, echo=T, session=P), now) is Outcome.ESTABLISHED
    assert not shake.due
    return shake


def with_candidate(now: float = 0.0) -> Handshake:
    """A side in UP with P that has offered C to N."""
    shake = up(now)
    assert shake.receive(hello(N), now) is Outcome.HEARD
    assert shake.to_send(now) == mine(C, N, T)
    return shake


def session(shake: Handshake) -> tuple[bool, int, int]:
    return shake.up, shake.tag, shake.peer_tag


# -- the head ------------------------------------------------------------------------------------------------------

words = st.integers(0, 2**32 - 1)


@given(words, words, words, st.integers(0, 2**64 - 1), st.binary(max_size=9))
def test_a_head_survives_the_wire(tag: int, echo: int, of: int, instance: int, rest: bytes) -> None:
    """Rule H8: the map behind it is somebody else's."""
    head = HelloHead(tag, echo, of, instance)
    assert len(head.pack()) == HEAD.size == 20
    assert HelloHead.unpack(head.pack() + rest) == head


@given(st.binary(max_size=19))
def test_a_short_head_is_none(payload: bytes) -> None:
    """Rules H8, F8."""
    assert HelloHead.unpack(payload) is None


# -- state HELLO ---------------------------------------------------------------------------------------------------


def test_hello_and_nothing_heard_sends_hello_again() -> None:
    """Rule H10: the first row; what is unanswered is counted for rule H11's pad."""
    shake = Handshake(count(T).__next__, MINE, 10.0)
    assert (shake.due, shake.next_timer(), session(shake)) == (True, None, (False, T, 0))
    sent, now = [], 10.0
    for expected in range(1, 9):
        assert shake.to_send(now) == mine(T, 0, 0)
        assert shake.unanswered == expected
        timer = shake.next_timer()
        assert timer is not None
        sent.append(round(timer - now, 6))
        due = []
        for now in (timer - 0.001, timer):
            shake.handle_timer(now)
            due.append(shake.due)
        assert due == [False, True]
        assert shake.next_timer() is None
    assert sent == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_hello_and_a_hello_without_our_tag_is_answered() -> None:
    """Rules H1, H4: heard, not established; the repetition starts anew at 50 ms."""
    shake = fresh()
    assert shake.receive(hello(P, echo=99), 1.0) is Outcome.HEARD
    assert session(shake) == (False, T, P)
    assert (shake.due, shake.unanswered) == (True, 0)
    assert shake.to_send(1.0) == mine(T, P, 0)
    assert shake.next_timer() == pytest.approx(1.05)


@pytest.mark.parametrize("says_up", [False, True])
def test_hello_and_an_echo_of_our_tag_establishes(says_up: bool) -> None:
    """Rule H1: answered unless it says that the peer is up already."""
    shake = fresh()
    assert shake.receive(hello(P, echo=T, session=P if says_up else 0), 1.0) is Outcome.ESTABLISHED
    assert session(shake) == (True, T, P)
    assert (shake.due, shake.next_timer(), shake.unanswered) == (not says_up, None, 0)
    if shake.due:
        assert shake.to_send(1.0) == mine(T, P, T)
    assert shake.next_timer() is None


def test_hello_and_a_valid_frame_0_establishes() -> None:
    """Rule H5: the hello before it was lost."""
    shake = fresh()
    assert shake.confirm(candidate=False) is Outcome.NOTHING
    shake.receive(hello(P), 0.0)
    assert shake.confirm(candidate=False) is Outcome.ESTABLISHED
    assert session(shake) == (True, T, P)
    assert not shake.due


def test_hello_the_newest_sender_is_the_one_that_is_echoed() -> None:
    """Rules H2, H4: a ghost's hello before the peer's, in one read, costs nothing."""
    shake = fresh()
    shake.receive(hello(G), 0.0)
    shake.receive(hello(P), 0.0)
    assert shake.to_send(0.0) == mine(T, P, 0)
    assert not shake.due


def test_hello_noise_does_not_probe() -> None:
    """Rule H10: the repetition does."""
    shake = fresh()
    shake.probe(0.01)
    assert not shake.due


# -- state UP: the peer --------------------------------------------------------------------------------------------


def test_up_and_the_peer_says_up_is_left_alone() -> None:
    """Rule H4: hellos end where both are up."""
    shake = up()
    assert shake.receive(hello(P, echo=T, session=P), 1.0) is Outcome.NOTHING
    assert not shake.due
    assert shake.next_timer() is None


@pytest.mark.parametrize(("echo", "of"), [(T, 0), (0, 0), (T, 4711), (99, 0), (99, P), (0, P)], ids=str)
def test_up_and_any_other_hello_of_the_peer_is_answered(echo: int, of: int) -> None:
    """Rules H2, H10: also where it echoes somebody else: it has taken that for us, and would wait for ever."""
    shake = up()
    assert shake.receive(hello(P, echo, of), 1.0) is Outcome.NOTHING
    assert shake.to_send(1.0) == mine(T, P, T)
    assert session(shake) == (True, T, P)


def test_up_and_the_peer_in_hello_echoes_our_candidate_is_told_our_tag() -> None:
    """Rule H2: it overheard what was offered to a ghost; the session stays."""
    shake = with_candidate()
    assert shake.receive(hello(P, echo=C, session=0), 1.0) is Outcome.NOTHING
    assert shake.to_send(1.0) == mine(T, P, T)


def test_up_and_the_peer_is_up_with_our_candidate_is_followed() -> None:
    """Rules H1, H2: after a restored snapshot, where the same tag was drawn again."""
    shake = with_candidate()
    assert shake.receive(hello(P, echo=C, session=P), 1.0) is Outcome.REPLACED
    assert session(shake) == (True, C, P)
    assert not shake.due


# -- state UP: another sender --------------------------------------------------------------------------------------


@pytest.mark.parametrize("says_up", [False, True])
def test_up_and_another_sender_echoes_the_candidate_takes_over(says_up: bool) -> None:
    """Rules H2, H3: also where that is not who it was offered to last."""
    shake = with_candidate()
    shake.receive(hello(G), 0.5)
    shake.to_send(0.5)
    assert shake.receive(hello(N, echo=C, session=N if says_up else 0), 1.0) is Outcome.REPLACED
    assert session(shake) == (True, C, N)
    assert shake.candidate is None
    assert shake.due == (not says_up)
    if shake.due:
        assert shake.to_send(1.0) == mine(C, N, C)


@pytest.mark.parametrize("echo", [0, 99, C])
def test_up_and_the_peers_answer_to_somebody_else_is_ignored(echo: int) -> None:
    """Rule H2: a hello of the session P that does not echo T is the living peer's answer to a ghost."""
    shake = up()
    assert shake.receive(hello(N, echo, session=P), 1.0) is Outcome.NOTHING
    assert not shake.due
    assert shake.candidate is None


def test_up_and_the_peers_answer_to_what_we_were_before_is_ignored() -> None:
    """Rules H2, H3: an old hello of ours was late, and the peer offers its candidate to our former tag."""
    shake = with_candidate()
    shake.receive(hello(N, echo=C, session=N), 1.0)
    assert shake.receive(hello(8000, echo=T, session=N), 2.0) is Outcome.NOTHING
    assert (shake.due, shake.candidate) == (False, None)


def test_up_and_the_peers_offer_to_our_present_tag_is_answered() -> None:
    """Rules H1, H2: it is in P with somebody else, so one of us was restored from a snapshot."""
    shake = up()
    assert shake.receive(hello(N, echo=T, session=P), 1.0) is Outcome.HEARD
    assert shake.to_send(1.0) == mine(C, N, T)


@pytest.mark.parametrize(("echo", "of"), [(0, 0), (99, 0), (T, 0), (99, 4711), (99, N)])
def test_up_and_another_sender_is_offered_a_candidate(echo: int, of: int) -> None:
    """Rules H2, H3: and the session stays."""
    shake = up()
    assert shake.receive(hello(N, echo, of), 1.0) is Outcome.HEARD
    assert session(shake) == (True, T, P)
    assert shake.candidate == (C, N)
    assert shake.to_send(1.0) == mine(C, N, T)


def test_up_and_a_candidates_frame_0_takes_over() -> None:
    """Rule H5."""
    shake = with_candidate()
    assert shake.confirm(candidate=True) is Outcome.REPLACED
    assert session(shake) == (True, C, N)
    assert (shake.due, shake.candidate, shake.next_timer()) == (False, None, None)


def test_up_and_a_frame_of_no_candidate_changes_nothing() -> None:
    """Rule H5."""
    shake = up()
    assert shake.confirm(candidate=True) is Outcome.NOTHING
    assert shake.confirm(candidate=False) is Outcome.NOTHING
    assert session(shake) == (True, T, P)


def test_up_and_noise_probes_once_in_50_ms() -> None:
    """Rule H10."""
    shake = up()
    sent = []
    for now in (1.0, 1.01, 1.04, 1.06, 1.07):
        shake.probe(now)
        if shake.due:
            assert shake.to_send(now) == mine(T, P, T)
            sent.append(now)
    assert sent == [1.0, 1.06]


def test_up_and_noise_does_not_take_the_place_of_an_offer() -> None:
    """Rule H4: the half frame of a dead process is noise, and the hello of the next one follows it in the same read."""
    shake = up()
    shake.receive(hello(N), 1.0)
    shake.probe(1.0)
    assert shake.to_send(1.0) == mine(C, N, T)


def test_leaving_up_redraws_the_tag_and_says_hello_at_once() -> None:
    """Rules H1, H3, G4: P and the candidate are forgotten."""
    shake = with_candidate()
    shake.leave(1.0)
    assert session(shake) == (False, C2, 0)
    assert (shake.candidate, shake.unanswered, shake.due, shake.next_timer()) == (None, 0, True, None)
    assert shake.to_send(1.0) == mine(C2, 0, 0)


def test_after_a_goodbye_the_first_hello_waits_two_seconds() -> None:
    """Rule H10: but a hello is answered at once."""
    shake = up()
    shake.leave(1.0, quiet=2.0)
    assert (shake.due, shake.next_timer()) == (False, 3.0)
    shake.handle_timer(2.9)
    assert not shake.due
    shake.receive(hello(N), 2.9)
    assert shake.to_send(2.9) == mine(C, N, 0)
    shake.leave(3.0, quiet=2.0)
    shake.handle_timer(5.0)
    assert shake.to_send(5.0) == mine(C2, 0, 0)


# -- rules ---------------------------------------------------------------------------------------------------------


def test_nothing_recorded_before_can_establish() -> None:
    """Rule H1: everything that was said in the last session is said again."""
    shake = with_candidate()
    shake.leave(1.0)
    for echo in (0, T, C, 99):
        for of in (0, P, N, G, T):
            for tag in (P, N, G):
                assert shake.receive(hello(tag, echo, of), 2.0) is Outcome.HEARD
    assert not shake.up


def test_a_ghost_costs_one_answer() -> None:
    """Rule H2: no repetition, however long one waits."""
    shake = up()
    shake.receive(hello(G, echo=99), 1.0)
    assert shake.to_send(1.0) == mine(C, G, T)
    assert shake.next_timer() is None
    shake.handle_timer(100.0)
    assert not shake.due
    assert session(shake) == (True, T, P)


def test_an_offer_to_a_sender_that_is_up_is_repeated_five_times() -> None:
    """Rule H10: such a sender does not repeat its own hello."""
    shake = up()
    shake.receive(hello(N, echo=99, session=4711), 1.0)
    sent, now = 0, 1.0
    while True:
        assert shake.to_send(now) == mine(C, N, T)
        sent += 1
        timer = shake.next_timer()
        if timer is None:
            break
        assert timer <= now + 2.0
        shake.handle_timer(now := timer)
        assert shake.due
    assert sent == 1 + 5


def test_the_candidate_is_drawn_once_and_offered_to_the_newest_sender() -> None:
    """Rule H3."""
    shake = with_candidate()
    for now, sender in enumerate((G, N, 8001), 1):
        shake.receive(hello(sender), float(now))
        assert shake.to_send(float(now)) == mine(C, sender, T)
    assert shake.candidate == (C, 8001)


def test_one_hello_answers_all_of_a_read() -> None:
    """Rule H4: and its bytes are made when the channel takes them."""
    shake = fresh()
    for tag in range(500, 600):
        shake.receive(hello(tag), 1.0)
    shake.receive(hello(P, echo=T), 1.0)
    assert shake.to_send(1.0) == mine(T, P, T)
    assert not shake.due


def test_a_second_answer_within_50_ms_to_the_same_sender_is_not_sent() -> None:
    """Rule H10: in both states, also where two senders take turns."""
    for shake in (fresh(), up()):
        answers = []
        for step in range(20):
            now = 1.0 + step / 100
            shake.receive(hello((N, G)[step % 2]), now)
            if shake.due:
                answers.append((step * 10, shake.to_send(now).echo))
        per_sender = [[milliseconds for milliseconds, to in answers if to == sender] for sender in (N, G)]
        assert per_sender == [[0, 60, 120, 180], [10, 70, 130, 190]]


def test_an_offer_that_was_never_sent_is_no_answer() -> None:
    """Rules H4, H10: the peer's hello took its place, so the next one of that sender is answered at once."""
    shake = up()
    shake.receive(hello(N), 1.0)
    shake.receive(hello(P), 1.0)
    assert shake.to_send(1.0) == mine(T, P, T)
    shake.receive(hello(N), 1.01)
    assert shake.to_send(1.01) == mine(C, N, T)


def test_many_senders_do_not_grow_the_memory() -> None:
    """Rule L1: a peer that invents senders is remembered for 16 of them."""
    shake = up()
    for tag in range(10_000, 20_000):
        shake.receive(hello(tag), 1.0)
        shake.to_send(1.0)
    assert len(shake._answered) <= 16
    assert len(shake._own_tags) <= 16


def test_an_echo_is_counted_and_dropped() -> None:
    """Rule H7: in both states, for the tag of now and the recent ones."""
    shake = fresh()
    assert shake.receive(mine(T, 0, 0), 0.0) is Outcome.ECHO
    shake.leave(1.0)
    shake.to_send(1.0)
    assert shake.receive(mine(T, 0, 0), 1.0) is Outcome.ECHO
    shake.receive(hello(P, echo=C, session=P), 1.0)
    assert shake.receive(mine(C, P, C), 1.0) is Outcome.ECHO
    assert shake.echoes == 3
    assert session(shake) == (True, C, P)
    assert not shake.due


def test_sixteen_own_tags_are_kept() -> None:
    """Rule H7."""
    shake = fresh()
    for _ in range(15):
        shake.leave(0.0)
    assert shake.receive(mine(T, 0, 0), 0.0) is Outcome.ECHO
    shake.leave(0.0)
    assert shake.receive(mine(T, 0, 0), 0.0) is Outcome.HEARD


def test_equal_tags_in_hello_are_redrawn() -> None:
    """Rule H7: and the other is answered with the new one, since it may never see the equal one."""
    shake = fresh()
    assert shake.receive(hello(T), 1.0) is Outcome.HEARD
    assert session(shake) == (False, C, T)
    assert shake.to_send(1.0) == mine(C, T, 0)
    assert shake.receive(hello(T, echo=C), 1.1) is Outcome.ESTABLISHED
    assert session(shake) == (True, C, T)


def test_a_sender_with_our_own_tag_is_offered_a_candidate_in_up() -> None:
    """Rules H7, H2: it is another sender like any."""
    shake = up()
    assert shake.receive(hello(T), 1.0) is Outcome.HEARD
    assert shake.to_send(1.0) == mine(C, T, T)
    assert shake.receive(hello(T, echo=C, session=T), 1.1) is Outcome.REPLACED
    assert session(shake) == (True, C, T)


def test_a_candidate_that_equals_its_senders_tag_is_redrawn() -> None:
    """Rule H7: the two directions of a session must not have one seed."""
    shake = with_candidate()
    shake.receive(hello(C), 1.0)
    assert shake.to_send(1.0) == mine(C2, C, T)


def test_zero_is_no_tag() -> None:
    """Rule H8: neither drawn nor accepted."""
    shake = Handshake(iter([0, 0, T]).__next__, MINE, 0.0)
    assert shake.tag == T
    assert shake.receive(hello(0, echo=T), 0.0) is Outcome.NOTHING
    assert session(shake) == (False, T, 0)


def test_a_tag_is_not_drawn_twice_in_a_row() -> None:
    """Rules H3, H7: whatever the source of randomness does."""
    shake = Handshake(iter([T, T, T, C]).__next__, MINE, 0.0)
    shake.leave(0.0)
    assert shake.tag == C


# -- two of them ---------------------------------------------------------------------------------------------------


class Pair:
    """Two sides and a channel without delay; time passes only where nothing else happens."""

    def __init__(self, a: Handshake, b: Handshake, now: float = 0.0) -> None:
        self.sides = a, b
        self.channels: tuple[deque[HelloHead], deque[HelloHead]] = deque(), deque()
        self.now = now
        self.sent = 0

    def settle(self) -> None:
        for _ in range(200):
            if not self._step():
                timers = [timer for side in self.sides if (timer := side.next_timer()) is not None]
                if not timers:
                    return
                self.now = max(self.now, min(timers))
                for side in self.sides:
                    side.handle_timer(self.now)
        raise AssertionError("they talk for ever")

    def _step(self) -> bool:
        moved = False
        for side, channel, other in zip(self.sides, self.channels, reversed(self.channels), strict=True):
            while channel:
                side.receive(channel.popleft(), self.now)
                moved = True
            if side.due:
                other.append(side.to_send(self.now))
                self.sent += 1
                moved = True
        return moved


def pair(now: float = 0.0) -> Pair:
    return Pair(Handshake(count(100).__next__, 1, now), Handshake(count(200).__next__, 2, now), now)


def assert_together(both: Pair) -> None:
    a, b = both.sides
    assert a.up
    assert b.up
    assert (a.tag, a.peer_tag) == (b.peer_tag, b.tag)


def test_two_sides_meet_without_waiting() -> None:
    """Rules H1, H10: no timer is needed, and at most five hellos."""
    both = pair()
    both.settle()
    assert_together(both)
    assert both.now == 0.0
    assert both.sent <= 5


def test_a_restarted_side_replaces_the_session() -> None:
    """Rules H2, H3."""
    both = pair()
    both.settle()
    a = both.sides[0]
    again = Pair(a, Handshake(count(300).__next__, 3, 10.0), 10.0)
    again.settle()
    assert_together(again)
    assert again.sides[1].peer_tag == a.tag
    assert again.now == 10.0


def test_after_a_restored_snapshot_one_probe_leads_to_a_new_session() -> None:
    """Rules H1, H2, H10: both believe in different sessions, neither hears a frame of the other's."""
    both = pair()
    both.settle()
    a, old = both.sides
    later = Pair(a, Handshake(count(300).__next__, 3, 10.0), 10.0)
    later.settle()
    restored = Pair(a, old, 20.0)
    assert a.peer_tag != old.tag
    old.probe(20.0)
    restored.settle()
    assert_together(restored)
    assert restored.now == 20.0


def test_a_ghost_costs_two_living_peers_one_hello() -> None:
    """Rule H2: the answer reaches the living peer, who sees that it is not meant for it."""
    both = pair()
    both.settle()
    before, tags = both.sent, [session(side) for side in both.sides]
    both.now = 5.0
    both.channels[0].append(hello(G, echo=99))
    both.settle()
    assert both.sent == before + 1
    assert [session(side) for side in both.sides] == tags


def test_equal_tags_of_both_sides_meet_nevertheless() -> None:
    """Rule H7."""
    both = Pair(Handshake(count(100).__next__, 1, 0.0), Handshake(iter([100, 200, 201]).__next__, 2, 0.0))
    both.settle()
    assert_together(both)
    assert both.sides[0].tag != both.sides[1].tag


def test_a_loop_back_never_establishes() -> None:
    """Rule H7: and the tag stays, so nothing is redrawn for ever."""
    shake = Handshake(count(T).__next__, MINE, 0.0)
    now = 0.0
    for _ in range(10):
        assert shake.receive(shake.to_send(now), now) is Outcome.ECHO
        timer = shake.next_timer()
        assert timer is not None
        shake.handle_timer(now := timer)
    assert (shake.up, shake.tag, shake.echoes) == (False, T, 10)
