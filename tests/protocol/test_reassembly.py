"""Fragments and their bounds (docs/protocol.md, rules P4 to P6)."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from virtagent.protocol.codec import Codec
from virtagent.protocol.frames import FLAG_FIRST, FLAG_LAST, FRAGMENT
from virtagent.protocol.limits import SERIAL, Limits
from virtagent.protocol.reassembly import LARGEST_SPARE, Reassembly, TooLong

LIMITS = SERIAL._replace(message=1000, reassembly=1500, transfers=3)
FIRST, LAST, MIDDLE = FRAGMENT | FLAG_FIRST, FRAGMENT | FLAG_LAST, FRAGMENT
WHOLE = FIRST | FLAG_LAST


def first(total: int, data: bytes = b"") -> memoryview:
    return memoryview(struct.pack(">I", total) + data)


def received(reassembly: Reassembly, kind: int, identifier: int, payload: memoryview) -> bytes | TooLong | None:
    whole = reassembly.receive(kind, identifier, payload)
    return bytes(whole) if isinstance(whole, memoryview) else whole


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=20))
def test_fragments_become_the_message(parts: list[bytes]) -> None:
    """Rule P4."""
    reassembly = Reassembly(LIMITS)
    total = sum(map(len, parts))
    for index, part in enumerate(parts):
        kind = FRAGMENT | (FLAG_FIRST if index == 0 else 0) | (FLAG_LAST if index == len(parts) - 1 else 0)
        whole = received(reassembly, kind, 7, first(total, part) if index == 0 else memoryview(part))
    assert whole == b"".join(parts)
    assert len(reassembly) == 0
    assert reassembly._total == 0


def test_transfers_take_turns() -> None:
    """Rules P3, P4."""
    reassembly = Reassembly(LIMITS)
    assert reassembly.receive(FIRST, 1, first(4, b"ab")) is None
    assert reassembly.receive(FIRST, 2, first(2, b"x")) is None
    assert received(reassembly, LAST, 1, memoryview(b"cd")) == b"abcd"
    assert received(reassembly, LAST, 2, memoryview(b"y")) == b"xy"


def test_the_buffer_of_a_message_serves_the_next_one_until_none_has_come_for_a_while() -> None:
    reassembly = Reassembly(LIMITS)
    for data in (b"abcdef", b"xy", b"123456"):
        assert reassembly.receive(FIRST, 1, first(len(data), data[:1])) is None
        assert received(reassembly, LAST, 1, memoryview(data[1:])) == data
        assert len(reassembly._spare) == 6
    reassembly.tidy()
    assert len(reassembly._spare) == 6
    reassembly.tidy()
    assert len(reassembly._spare) == 0
    assert received(reassembly, WHOLE, 1, first(2, b"xy")) == b"xy"


def test_two_messages_under_way_have_a_buffer_each() -> None:
    reassembly = Reassembly(LIMITS)
    assert received(reassembly, WHOLE, 1, first(4, b"abcd")) == b"abcd"
    assert reassembly.receive(FIRST, 1, first(4, b"ab")) is None
    assert received(reassembly, WHOLE, 2, first(4, b"wxyz")) == b"wxyz"
    assert received(reassembly, LAST, 1, memoryview(b"cd")) == b"abcd"


def test_a_very_large_buffer_is_not_kept() -> None:
    reassembly = Reassembly(Limits())
    size = LARGEST_SPARE + 1
    assert reassembly.receive(WHOLE, 1, first(size, bytes(size))) is not None
    assert len(reassembly._spare) == 0


def test_an_abort_forgets_the_transfer() -> None:
    """Rule P5."""
    reassembly = Reassembly(LIMITS)
    reassembly.receive(FIRST, 1, first(4, b"ab"))
    reassembly.abort(1)
    reassembly.abort(1)
    assert (len(reassembly), reassembly._total) == (0, 0)
    assert reassembly.receive(LAST, 1, memoryview(b"cd")) is None


def test_a_message_above_the_limit_is_refused_with_its_id_and_its_fragments_are_skipped() -> None:
    """Rule P6."""
    reassembly = Reassembly(LIMITS)
    request = Codec().pack([0, 99, "m", b"x" * 2000])
    refused = reassembly.receive(FIRST, 1, first(len(request), request[:100]))
    assert isinstance(refused, TooLong)
    assert refused.head == (0, 99)
    assert "the limit is 1000" in refused.reason
    assert reassembly.receive(LAST, 1, memoryview(request[100:])) is None
    assert reassembly.skipped == 1


def test_all_transfers_together_are_bounded() -> None:
    """Rule P6: in bytes and in number."""
    reassembly = Reassembly(LIMITS)
    assert reassembly.receive(FIRST, 1, first(1000)) is None
    refused = reassembly.receive(FIRST, 2, first(501))
    assert isinstance(refused, TooLong)
    assert "1500 bytes" in refused.reason
    assert refused.head is None
    assert reassembly.receive(FIRST, 3, first(10)) is None
    assert reassembly.receive(FIRST, 4, first(10)) is None
    assert isinstance(refused := reassembly.receive(FIRST, 5, first(10)), TooLong)
    assert "3 long messages" in refused.reason
    assert reassembly.skipped == 2


def test_fragments_that_contradict_each_other_cost_the_transfer() -> None:
    """Rule L1: too much, too little at the end, complete without saying so, no total."""
    reassembly = Reassembly(LIMITS)
    reassembly.receive(FIRST, 1, first(4, b"ab"))
    assert reassembly.receive(MIDDLE, 1, memoryview(b"cde")) is None
    reassembly.receive(FIRST, 2, first(4, b"ab"))
    assert reassembly.receive(LAST, 2, memoryview(b"c")) is None
    assert reassembly.receive(FIRST, 3, first(2, b"ab")) is None
    assert reassembly.receive(FIRST, 4, memoryview(b"abc")) is None
    assert reassembly.broken == 4
    assert (len(reassembly), reassembly._total) == (0, 0)


def test_an_id_used_anew_replaces_the_transfer() -> None:
    """Rule L1."""
    reassembly = Reassembly(LIMITS)
    reassembly.receive(FIRST, 1, first(900, b"ab"))
    assert received(reassembly, WHOLE, 1, first(2, b"xy")) == b"xy"
    assert reassembly._total == 0


fragments = st.tuples(
    st.sampled_from([FIRST, LAST, MIDDLE, WHOLE, None]),
    st.integers(0, 5),
    st.integers(0, 1200) | st.integers(0, 2**32 - 1),
    st.binary(max_size=40),
)


@given(st.lists(fragments, max_size=60))
def test_no_sequence_of_fragments_breaks_the_bounds(sequence: list[tuple[int | None, int, int, bytes]]) -> None:
    """Rules P6, L1."""
    reassembly = Reassembly(LIMITS)
    for kind, identifier, total, data in sequence:
        if kind is None:
            reassembly.abort(identifier)
            continue
        payload = first(total, data) if kind & FLAG_FIRST and total % 7 else memoryview(data)
        whole = reassembly.receive(kind, identifier, payload)
        assert whole is None or isinstance(whole, TooLong) or len(whole) <= LIMITS.message
        assert len(reassembly) <= LIMITS.transfers
        assert reassembly._total == sum(len(each.data) for each in reassembly._partial.values()) <= LIMITS.reassembly
