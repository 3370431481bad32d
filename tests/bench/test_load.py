"""Load generators, in virtual time, against callees that are made to be slow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtagent.bench import load
from virtagent.bench.arrivals import arrivals
from virtagent.bench.load import Recording, closed_loop, open_loop
from virtagent.bench.timer import SECOND, LoopTimer
from virtagent.errors import InternalError, MethodNotFound, Overloaded, SessionLost
from virtagent.testing import run_in_virtual_time

MS = 1_000_000


class Callee:
    """Answers after some time, one call at a time or all at once.

    Attributes:
        service: seconds that a call takes.
        stall: the number of a call that takes ``stalled`` seconds, and holds up all others.
        most: calls that were under way at the same time.
    """

    def __init__(self, service: float, *, stall: int | None = None, stalled: float = 0.0, serial: bool = False) -> None:
        self.service = service
        self.stall = stall
        self.stalled = stalled
        self.calls = self.open = self.most = 0
        self._gate = asyncio.Lock() if serial or stall is not None else None
        self._timer = LoopTimer()

    async def __call__(self) -> tuple[int, int, int]:
        number, self.calls = self.calls, self.calls + 1
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            if self._gate is None:
                return await self._serve(self.service)
            async with self._gate:
                return await self._serve(self.stalled if number == self.stall else self.service)
        finally:
            self.open -= 1

    async def _serve(self, seconds: float) -> tuple[int, int, int]:
        now = self._timer.now()
        await asyncio.sleep(seconds)
        return now, now, self._timer.now()


def latencies(recording: Recording) -> list[float]:
    """Milliseconds, in the order in which calls should have been made."""
    samples = recording.samples
    pairs = sorted(zip(samples.intended, samples.answered, strict=True))
    return [(answered - intended) / MS for intended, answered in pairs]


def run(scenario: Callable[[], Coroutine[Any, Any, Recording]]) -> Recording:
    return run_in_virtual_time(scenario())


def open_run(
    make: Callable[[], Callable[[], Awaitable[tuple[int, int, int]]]], rate: float, seconds: float, most: int = 1000
) -> Recording:
    async def scenario() -> Recording:
        timer, recording = LoopTimer(), Recording()
        begin = timer.now()
        end = begin + round(seconds * SECOND)
        schedule = arrivals("constant", rate, begin, end)
        await open_loop(make(), schedule, timer, recording, end=end, most_in_flight=most)
        return recording

    return run(scenario)


def closed_run(
    make: Callable[[], Callable[[], Awaitable[tuple[int, int, int]]]],
    in_flight: int,
    seconds: float | None,
    count: int | None = None,
) -> Recording:
    async def scenario() -> Recording:
        recording = Recording()
        await closed_loop(make(), LoopTimer(), recording, in_flight=in_flight, seconds=seconds, count=count)
        return recording

    return run(scenario)


def test_a_closed_loop_makes_the_next_call_when_one_is_answered() -> None:
    recording = closed_run(lambda: Callee(0.01), 1, 1.0)
    assert len(recording.samples) == pytest.approx(100, abs=1)
    assert latencies(recording) == pytest.approx([10] * len(recording.samples), abs=0.01)
    assert recording.samples.intended == recording.samples.sent
    assert recording.sustained


@settings(max_examples=20, deadline=None)
@given(in_flight=st.integers(1, 50), count=st.integers(1, 200))
def test_a_closed_loop_keeps_so_many_calls_in_flight_and_makes_so_many(in_flight: int, count: int) -> None:
    callees: list[Callee] = []

    def make() -> Callee:
        callees.append(Callee(0.01))
        return callees[0]

    recording = closed_run(make, in_flight, None, count)
    assert len(recording.samples) == recording.made == count
    assert callees[0].most == min(in_flight, count)
    assert recording.seconds == pytest.approx(-(-count // in_flight) * 0.01, rel=0.01)


def test_an_open_loop_calls_by_the_clock_whatever_the_answers_do() -> None:
    recording = open_run(lambda: Callee(0.5), 100, 2.0)
    assert recording.made == len(recording.samples) == 200
    sent = recording.samples.sent
    assert [(each - sent[0]) / MS for each in sent] == pytest.approx([10 * n for n in range(200)], abs=0.01)


def test_a_stall_is_counted_in_all_calls_that_it_held_up() -> None:
    """No coordinated omission: a second's stall at 100 calls/s shows in a hundred latencies; a closed loop has one."""
    opened = latencies(open_run(lambda: Callee(0.001, stall=50, stalled=1.0), 100, 3.0))
    assert sum(each > 100 for each in opened) == pytest.approx(100, abs=10)
    closed = latencies(closed_run(lambda: Callee(0.001, stall=50, stalled=1.0), 1, 3.0))
    assert sum(each > 100 for each in closed) == 1


def test_calls_that_wait_for_room_here_count_from_when_they_should_have_been_made() -> None:
    recording = open_run(lambda: Callee(0.05, serial=True), 100, 0.2, most=1)
    samples = recording.samples
    waited = [(sent - intended) / MS for intended, sent in zip(samples.intended, samples.sent, strict=True)]
    assert waited == pytest.approx([40 * n for n in range(len(waited))], abs=0.1)
    assert min(latencies(recording)) >= 49.9


@pytest.mark.parametrize(("service", "sustained"), [(0.009, True), (0.02, False)])
def test_a_rate_that_is_beyond_the_callee_is_noticed(service: float, sustained: bool) -> None:
    recording = open_run(lambda: Callee(service, serial=True), 100, 5.0, most=64)
    assert recording.sustained is sustained
    if not sustained:
        assert recording.made < 500


def test_a_rate_that_is_beyond_this_end_is_noticed_and_ends_in_time() -> None:
    """The loop's clock moves on with each turn, as a real one does: at a million calls a second none is in time."""

    async def scenario() -> Recording:
        loop = asyncio.get_running_loop()
        timer, recording = LoopTimer(), Recording()

        async def call() -> tuple[int, int, int]:
            loop.advance(0.001)  # type: ignore[attr-defined]
            now = timer.now()
            return now, now, now

        end = timer.now() + SECOND
        schedule = arrivals("constant", 1e6, timer.now(), end)
        await open_loop(call, schedule, timer, recording, end=end, most_in_flight=100)
        return recording

    recording = run(scenario)
    assert recording.overdue
    assert not recording.sustained
    assert recording.last <= recording.end + 0.2 * SECOND


def test_a_channel_that_takes_long_for_each_call_is_not_overloaded() -> None:
    """Half a second for each answer, also for the last ones, which come well after the end."""
    assert open_run(lambda: Callee(0.5), 20, 2.0).sustained


def test_overload_is_noticed_although_all_calls_could_be_made() -> None:
    """There is room for all calls here, so none is late; but each takes longer than the one before it."""
    recording = open_run(lambda: Callee(0.02, serial=True), 100, 2.0, most=1000)
    assert (recording.made, recording.overdue) == (200, False)
    assert not recording.sustained


def test_a_slow_last_answer_alone_does_not_put_the_rate_in_doubt() -> None:
    assert open_run(lambda: Callee(0.04), 10, 1.0).sustained


def test_a_run_that_was_cut_short_is_judged_by_what_it_did() -> None:
    recording = Recording(begin=0, end=0, last=SECOND, late=1000)
    assert recording.sustained
    recording.late = SECOND
    assert not recording.sustained


async def failing(error: Exception) -> tuple[int, int, int]:
    await asyncio.sleep(0.01)
    raise error


@pytest.mark.parametrize("loop", ["open", "closed"])
def test_errors_that_the_callee_answers_with_are_counted(loop: str) -> None:
    def make() -> Callable[[], Awaitable[tuple[int, int, int]]]:
        return lambda: failing(Overloaded("too many calls"))

    recording = open_run(make, 100, 0.1) if loop == "open" else closed_run(make, 2, 0.1)
    assert recording.samples.errors["Overloaded"] == recording.made > 0
    assert recording.samples.first_error == "too many calls"
    assert len(recording.samples) == 0


@pytest.mark.parametrize("error", [SessionLost("gone"), MethodNotFound("no such method")])
@pytest.mark.parametrize("in_flight", [1, 8])
def test_what_ends_the_session_or_cannot_be_called_ends_the_load(error: Exception, in_flight: int) -> None:
    with pytest.raises(type(error)):
        closed_run(lambda: lambda: failing(error), in_flight, 10.0)
    with pytest.raises(type(error)):
        open_run(lambda: lambda: failing(error), 100, 10.0)


def test_no_more_is_recorded_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MOST_CALLS", 50)
    assert closed_run(lambda: Callee(0.01), 1, 10.0).made == 50
    recording = open_run(lambda: Callee(0.01), 100, 10.0)
    assert recording.made == 50
    assert not recording.sustained


def test_one_error_is_enough_to_know_by_its_message() -> None:
    def make() -> Callable[[], Awaitable[tuple[int, int, int]]]:
        errors = iter([InternalError("first"), *[InternalError("later")] * 1000])
        return lambda: failing(next(errors))

    assert closed_run(make, 1, 0.1).samples.first_error == "first"
