"""Faults are those that were asked for, and the same again for the same seed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import virtagent.testing
from virtagent.errors import UsageError
from virtagent.testing import Faults, FaultyWire

DATA = bytes(range(256)) * 20


def drained(wire: FaultyWire) -> list[tuple[float, bytes]]:
    out = []
    while (at := wire.next_at) < math.inf:
        out += [(at, piece) for piece in wire.receive(at)]
    assert wire.held == 0
    return out


def through(faults: Faults, seed: int = 1) -> tuple[FaultyWire, list[tuple[float, bytes]]]:
    wire = FaultyWire(faults, seed)
    for position in range(0, len(DATA), 100):
        wire.send(DATA[position : position + 100], position / 1000)
    return wire, drained(wire)


@given(
    st.builds(Faults, split=st.integers(0, 50), delay=st.floats(0, 2), stall=st.sampled_from((0.0, 0.2))),
    st.integers(0, 100),
)
def test_a_lossless_wire_delivers_every_byte_in_order(faults: Faults, seed: int) -> None:
    assert faults.lossless
    _, pieces = through(faults, seed)
    assert b"".join(piece for _, piece in pieces) == DATA
    assert sorted(at for at, _ in pieces) == [at for at, _ in pieces]
    if faults.split:
        assert max(len(piece) for _, piece in pieces) <= faults.split


@given(
    st.builds(
        Faults,
        split=st.integers(1, 50),
        delay=st.floats(0, 1),
        drop=st.floats(0, 1),
        corrupt=st.floats(0, 1),
        duplicate=st.floats(0, 1),
        stall=st.floats(0, 1),
    ),
    st.integers(0, 1000),
)
def test_a_run_can_be_played_again(faults: Faults, seed: int) -> None:
    first, pieces = through(faults, seed)
    again, same = through(faults, seed)
    assert pieces == same
    assert first.log == again.log


def test_each_fault_does_what_its_name_says() -> None:
    assert {len(piece) for _, piece in through(Faults(split=1))[1]} == {1}
    assert through(Faults(drop=1))[1] == []
    doubled = through(Faults(duplicate=1))[1]
    assert doubled[0::2] == doubled[1::2]
    for (_, piece), position in zip(through(Faults(corrupt=1))[1], range(0, len(DATA), 100), strict=True):
        original = DATA[position : position + 100]
        assert sum(a != b for a, b in zip(piece, original, strict=True)) == 1
    with pytest.raises(UsageError, match="probability"):
        Faults(drop=2)


def test_a_stopped_wire_loses_nothing_and_a_healed_one_is_perfect() -> None:
    wire = FaultyWire(Faults(delay=5.0))
    wire.send(b"one", 0.0)
    wire.stop()
    assert wire.next_at == math.inf
    assert wire.receive(100.0) == []
    wire.release()
    assert wire.next_at <= 5.0
    wire.heal()
    wire.send(b"two", 1.0)
    assert b"".join(wire.receive(1.0)) == b"onetwo"
    wire.inject(b"noise", 2.0)
    assert wire.receive(2.0) == [b"noise"]
    wire.send(b"gone", 3.0)
    wire.clear()
    assert drained(wire) == []


def test_the_kit_lists_what_it_offers() -> None:
    assert virtagent.testing.__all__ == sorted(virtagent.testing.__all__)
    assert all(hasattr(virtagent.testing, name) for name in virtagent.testing.__all__)
