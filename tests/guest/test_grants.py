"""Who has which grant."""

from __future__ import annotations

import gc

import pytest

from tests.service.wire import context
from virtagent.errors import ResourceExhausted
from virtagent.guest.grants import FULL, NOTHING, Grant, Grants


class Peer:
    """Stands for a peer: what is asked of one here is its identity as an object."""

    info = None


def test_without_a_policy_everybody_may_do_everything() -> None:
    assert Grants().of(context(peer=Peer())) == FULL


def test_the_agent_itself_may_do_everything() -> None:
    assert Grants(lambda peer: None).of(None) == FULL


def test_a_peer_of_which_nothing_is_known_may_do_nothing() -> None:
    grant = Grants(lambda peer: None).of(context(peer=Peer()))
    assert grant == NOTHING
    assert not grant.roles
    assert (grant.read_roots, grant.write_roots, grant.commands, grant.calls) == ((), (), (), 0)


def test_a_peer_that_could_not_be_known_is_asked_for_again() -> None:
    """Its channel may have been on its way."""
    answers = [None, (Grant(who="now"), None)]
    grants, peer = Grants(lambda _: answers.pop(0)), Peer()
    assert grants.of(context(peer=peer)) == NOTHING
    assert grants.of(context(peer=peer)).who == "now"
    assert grants.of(context(peer=peer)).who == "now"


def test_each_peer_is_decided_once() -> None:
    decided: list[object] = []

    def decide(peer: object) -> tuple[Grant, None]:
        decided.append(peer)
        return Grant(who=str(len(decided))), None

    grants = Grants(decide)
    one, two = Peer(), Peer()
    assert [grants.of(context(peer=each)).who for each in (one, two, one, two)] == ["1", "2", "1", "2"]


def test_a_peer_that_is_gone_leaves_nothing_and_is_not_mistaken_for_the_next() -> None:
    """Objects are told apart by their place in memory, which is given to the next one."""
    grants = Grants(lambda peer: (Grant(who=peer.who), None))  # type: ignore[attr-defined]
    for number in range(1000):
        peer = Peer()
        peer.who = str(number)  # type: ignore[attr-defined]
        assert grants.of(context(peer=peer)).who == str(number)
    del peer
    gc.collect()
    assert list(grants) == []


def test_what_is_limited_is_counted_for_each_peer() -> None:
    grants = Grants()
    one, two = context(peer=Peer()), context(peer=Peer())
    with grants.hold(one, "processes", 1):
        with pytest.raises(ResourceExhausted, match="1 processes"), grants.hold(one, "processes", 1):
            raise AssertionError("one too many")
        with grants.hold(two, "processes", 1), grants.hold(one, "watches", 1):
            pass
    with grants.hold(one, "processes", 1), grants.hold(None, "processes", 0):
        pass
    assert grants.access(one.peer).held == {"processes": 0, "watches": 0}
