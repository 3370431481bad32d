"""Measuring and ending the drift of a guest's clock."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.service.wire import Wire
from virtagent.api.system import ClockChange, ClockReading, System
from virtagent.errors import PermissionDenied, UsageError
from virtagent.host.drift import STEPPED, Exchange, drift_of
from virtagent.host.system import GuestSystem
from virtagent.service.options import method

WAYS = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=20)


def exchange(there: int, back: int, offset: int, *, at: int = 10**18, step: int = 0) -> Exchange:
    """One as it happens to two clocks that run alike: so long there, so long back."""
    return Exchange(
        sent=5, sent_realtime=at, guest=at + there + offset, received=5 + there + back,
        received_realtime=at + there + back + step,
    )  # fmt: skip


@given(WAYS, st.integers(-(10**18), 10**18))
def test_the_true_offset_is_within_the_uncertainty_however_the_ways_differ(
    ways: list[tuple[int, int]], offset: int
) -> None:
    drift = drift_of(exchange(there, back, offset) for there, back in ways)
    assert drift is not None
    assert abs(drift.offset - offset) <= drift.uncertainty
    assert drift.round_trip == min(there + back for there, back in ways)
    assert drift.samples == len(ways)


@given(st.integers(0, 10**9), st.integers(-(10**12), 10**12))
def test_equal_ways_give_the_offset_itself(way: int, offset: int) -> None:
    drift = drift_of([exchange(way, way, offset)])
    assert drift is not None
    assert drift.offset == offset


def test_an_exchange_during_which_our_own_clock_was_set_does_not_count() -> None:
    stepped = exchange(1, 1, 0, step=STEPPED + 1)
    assert drift_of([stepped]) is None
    drift = drift_of([stepped, exchange(1000, 1000, 7)])
    assert drift is not None
    assert drift.offset == 7


class Guest(System):
    """A guest whose clock is so many nanoseconds ahead."""

    def __init__(self, ahead: int, *, allowed: bool = True) -> None:
        self.ahead = ahead
        self.allowed = allowed
        self.changes: list[tuple[str, int]] = []

    @method(inline=True)
    async def time(self) -> ClockReading:
        return ClockReading(realtime=time.time_ns() + self.ahead, monotonic=time.monotonic_ns(), boottime=0)

    async def adjust_clock(self, offset: int, *, rtc: bool = True) -> ClockChange:
        if not self.allowed:
            raise PermissionDenied("no")
        self.changes.append(("step", offset))
        self.ahead += offset
        return ClockChange(before=0, after=offset, rtc="written" if rtc else "not asked")

    async def slew_clock(self, offset: int) -> ClockChange:
        self.changes.append(("slew", offset))
        return ClockChange(before=0, after=0, slewing=offset)


def held(guest: Guest) -> GuestSystem:
    caller: Any = Wire(guest)
    return GuestSystem(caller)


async def test_a_guest_that_is_behind_is_stepped_to_our_time() -> None:
    guest = Guest(-3600 * 10**9)
    done = await held(guest).synchronize()
    assert abs(done.before.offset + 3600 * 10**9) <= done.before.uncertainty
    assert done.change is not None
    assert done.change.rtc == "written"
    assert done.after is not None
    assert abs(done.after.offset) <= done.before.uncertainty + done.after.uncertainty


async def test_a_guest_may_be_slewed_but_not_by_hours() -> None:
    guest = Guest(2 * 10**9)
    done = await held(guest).synchronize(slew=True)
    assert guest.changes == [("slew", -done.before.offset)]
    with pytest.raises(UsageError, match="too large for a slew"):
        await held(Guest(3600 * 10**9)).synchronize(slew=True)


async def test_a_drift_that_could_be_none_changes_nothing() -> None:
    guest = Guest(0)
    done = await held(guest).synchronize()
    assert (done.change, done.after, guest.changes) == (None, None, [])


async def test_a_refusal_is_passed_on() -> None:
    with pytest.raises(PermissionDenied):
        await held(Guest(10**12, allowed=False)).synchronize()


async def test_the_number_of_samples_is_bounded() -> None:
    with pytest.raises(UsageError, match="1 to 1000 samples"):
        await held(Guest(0)).drift(0)


async def test_the_stubs_own_methods_are_there_too() -> None:
    system = held(Guest(10**15))
    assert (await system.time()).realtime > time.time_ns()
    assert {"drift", "info", "synchronize", "users"} <= set(dir(system))


async def test_what_neither_has_is_told_with_what_is_near() -> None:
    system = held(Guest(0))
    with pytest.raises(AttributeError, match="did you mean info"):
        system.inof  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match="_nope"):
        system._nope  # type: ignore[attr-defined]  # noqa: B018
