"""What a hello says and what two of them agree on (docs/protocol.md, rules H8 and H9)."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.errors import UsageError
from virtagent.protocol import announcement
from virtagent.protocol.announcement import KEPT, Announcement, Identity, agree
from virtagent.protocol.hello import HEAD
from virtagent.protocol.limits import MAX_HELLO, SERIAL, Limits

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)
KEYS = [
    "versions", "role", "name", "software", "machine", "boot", "limits", "features", "keepalive", "deadline", "check",
    "line_rate", "exclusive", "digest", "frame", "message", "calls", "streams", "window", "other",
]  # fmt: skip


def check_bounds(got: Announcement) -> None:
    assert 256 <= got.frame <= 0xFFFFFF
    assert 256 <= got.message <= 0xFFFFFFFF
    assert 1 <= got.calls <= 1 << 31
    assert 0 <= got.streams <= 1 << 31
    assert 1 <= got.window <= 1 << 31
    assert 0 <= got.keepalive <= 86_400
    assert 0 <= got.deadline <= 2**40 / 1000
    assert got.line_rate is None or 1 <= got.line_rate <= 1 << 40
    assert type(got.check) is type(got.exclusive) is bool
    assert len(got.versions) <= 16
    assert len(got.identity.features) <= 8
    for text in (got.identity.role, got.identity.name, got.identity.digest, got.identity.boot):
        assert len(text) <= 64


@given(st.binary(max_size=200))
def test_any_bytes_are_nothing_or_within_bounds(data: bytes) -> None:
    """Rules H8, L1."""
    got = Announcement.unpack(data)
    if got is not None:
        check_bounds(got)


@given(st.dictionaries(st.sampled_from(KEYS), anything, max_size=12), st.dictionaries(st.sampled_from(KEYS), anything))
def test_any_map_is_within_bounds(content: dict[str, Any], limits: dict[str, Any]) -> None:
    """Rules H8, L1: a value of the wrong type counts as absent."""
    for given_limits in (content.get("limits"), limits):
        got = Announcement.unpack(msgpack.packb(content | {"limits": given_limits}))
        assert got is not None
        check_bounds(got)


def test_what_is_absent_has_the_documented_default() -> None:
    """Rule H8."""
    got = Announcement.unpack(msgpack.packb({}))
    assert got is not None
    assert (got.versions, got.keepalive, got.deadline, got.check) == ((1,), 0, 60, True)
    assert (got.line_rate, got.exclusive, dict(got.identity.features)) == (None, False, {})
    wrong = Announcement.unpack(msgpack.packb({"versions": "1", "check": 1, "keepalive": True, "name": 5, "limits": 1}))
    assert wrong == got


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x90", b"\x01", b"\x81\x01\x02", b"\x91" * 2000])
def test_what_is_no_map_is_no_announcement(data: bytes) -> None:
    """Rules H8, L1."""
    assert Announcement.unpack(data) is None


def test_an_announcement_arrives_as_it_was_made() -> None:
    """Rules H8, D1, K1."""
    identity = Identity(role="guest", name="vm-1", software="virtagent 0.1.0", machine="m", boot="b", digest="d",
                        features={"line": {"window": 4}})  # fmt: skip
    mine = Announcement.of_limits(
        identity, SERIAL, keepalive=2.5, deadline=30.0, check=False, line_rate=11520, exclusive=True
    )
    assert Announcement.unpack(mine.pack()) == mine
    assert len(mine.pack()) <= MAX_HELLO - HEAD.size


def test_long_texts_are_cut_and_the_hello_still_fits() -> None:
    """Rules H8, L1."""
    long = "ä" * 500
    identity = Identity(role=long, name=long, software=long, machine=long, boot=long, digest=long)
    data = Announcement.of_limits(identity, Limits()).pack()
    assert len(data) <= MAX_HELLO - HEAD.size
    got = Announcement.unpack(data)
    assert got is not None
    assert got.identity.name == "ä" * 32


def test_too_many_features_are_the_users_mistake() -> None:
    """Rule H8."""
    mine = Announcement(identity=Identity(features={f"feature-{number}": "x" * 50 for number in range(30)}))
    with pytest.raises(UsageError, match="fewer or shorter features"):
        mine.pack()


def test_two_announcements_agree_on_the_stricter_facts() -> None:
    """Rules H9, F5, R1: the line layer is on only if both offer it."""
    mine = Announcement(
        identity=Identity(features={"line": {}, "mine": {}}),
        versions=(1, 2, 3), frame=1000, check=False, line_rate=9600,
    )  # fmt: skip
    theirs = Announcement(
        identity=Identity(features={"line": {}, "theirs": {}}),
        versions=(2, 1, 9), frame=500, check=True, line_rate=100,
    )  # fmt: skip
    for one, other in ((mine, theirs), (theirs, mine)):
        agreed = agree(one, other)
        assert agreed is not None
        assert (agreed.version, agreed.frame, agreed.check, agreed.line_rate) == (2, 500, True, 100)
        assert agreed.features == {"line"}
    plain = agree(Announcement(identity=Identity(), check=False), Announcement(identity=Identity(), check=False))
    assert plain is not None
    assert (plain.check, plain.line_rate) == (False, None)


def test_without_a_common_version_there_is_no_agreement() -> None:
    """Rule H9."""
    assert (
        agree(Announcement(identity=Identity(), versions=(1,)), Announcement(identity=Identity(), versions=(2,)))
        is None
    )


def test_features_that_are_equal_and_not_the_same_are_told_as_they_are() -> None:
    """Maps are remembered; 1 and True are one key of a dict."""
    for value in (1, True, 1.0):
        packed = Announcement(identity=Identity(features={"x": value})).pack()
        assert type(msgpack.unpackb(packed)["features"]["x"]) is type(value)


def test_what_is_said_again_is_neither_packed_nor_unpacked_again() -> None:
    identity, limits = Identity(name="web1"), Limits()
    data = Announcement.of_limits(identity, limits, keepalive=5.0).pack()
    assert Announcement.of_limits(identity, limits, keepalive=5.0).pack() is data
    assert Announcement.of_limits(identity, limits, keepalive=4.0).pack() != data
    assert Announcement.unpack(memoryview(data)) is Announcement.unpack(data)


def test_what_is_remembered_is_bounded() -> None:
    """Rule L1: the peer chooses what it says."""
    for number in range(3 * KEPT):
        data = Announcement.of_limits(Identity(name=str(number)), Limits()).pack()
        assert Announcement.unpack(data) is not None
    assert len(announcement._own) == KEPT
    assert announcement.unpacked_before.cache_info().currsize == KEPT
