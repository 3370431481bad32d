"""Load generators: an open loop, which calls by the clock whatever the callee does, and a closed one, which waits.

A closed loop omits: while an answer is late it makes none of the calls that would have been late, too (coordinated
omission). An open loop makes all of its calls, and counts each latency from the moment at
which it should have been made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TypeAlias

from virtagent.bench.samples import MOST_CALLS, Samples
from virtagent.bench.timer import SECOND, Timer
from virtagent.errors import CallError, MethodNotFound

__all__ = ["Call", "Recording", "closed_loop", "first_failure", "open_loop"]

Call: TypeAlias = "Callable[[], Awaitable[tuple[int, int, int]]]"
"""Makes one call; its result is when the callee received it, and when its handler started and finished."""

SLACK = 0.05
"""Seconds that the last calls may be late without the rate being in doubt; or 1 % of the time, if that is more."""

LATE_IN_A_TURN = 16
"""Overdue calls that are made before answers are looked at again."""


@dataclass(slots=True)
class Recording:
    """One stretch of load and what came of it. Moments are nanoseconds of this end's clock.

    Attributes:
        samples: the calls that were answered.
        begin, end: of the stretch; an end of 0: it was cut short.
        last: when the newest call was answered.
        made: calls that were made.
        late: how late the newest call of an open loop was made.
        overdue: an open loop could not make all of its calls in time.
    """

    samples: Samples = field(default_factory=Samples)
    begin: int = 0
    end: int = 0
    last: int = 0
    made: int = 0
    late: int = 0
    overdue: bool = False

    @property
    def until(self) -> int:
        """When it was over: with its time, or with the last answer."""
        return max(self.end, self.last)

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return max(self.until - self.begin, 0) / SECOND

    @property
    def sustained(self) -> bool:
        """Whether the rate was kept, as far as it got: all calls were made in time, and latency did not grow.

        Answers that come after the end are no sign of overload alone: a slow line takes its time for each.
        """
        slack = slack_of(self.begin, self.end or self.last)
        if self.overdue or self.late > slack:
            return False
        return not self.end or self.last <= self.end + slack or self._growth() <= slack

    def _growth(self) -> float:
        """By how many nanoseconds the last fifth of the calls took longer than the first."""
        calls = sorted(zip(self.samples.intended, self.samples.answered, strict=True))
        fifth = max(len(calls) // 5, 1)
        first, last = (
            median([answered - intended for intended, answered in part] or [0])
            for part in (calls[:fifth], calls[-fifth:])
        )
        return last - first


def slack_of(begin: int, end: int) -> float:
    """How late the last calls of an open loop may be, in nanoseconds."""
    return max(SLACK * SECOND, (end - begin) / 100)


async def closed_loop(
    call: Call, timer: Timer, recording: Recording, *, in_flight: int, seconds: float | None, count: int | None = None
) -> None:
    """Keep ``in_flight`` calls under way for some time, or until ``count`` have been made.

    Args:
        seconds: how long; None: until ``count`` calls have been made.
        count: how many at most; None, and beyond :data:`MOST_CALLS`: that many.

    Raises:
        VirtagentError: what ended it: a session that was lost, a call that cannot be made. Errors that the callee
            answers with are counted.
    """
    most = min(MOST_CALLS, count or MOST_CALLS)
    recording.begin = recording.last = timer.now()
    end = None if seconds is None else recording.begin + round(seconds * SECOND)

    async def worker() -> None:
        while recording.made < most and (end is None or timer.now() < end):
            recording.made += 1
            await _one(call, timer, recording, None)

    if in_flight == 1:
        await worker()
    else:
        async with first_failure(), asyncio.TaskGroup() as group:
            for _ in range(min(in_flight, most)):
                group.create_task(worker())
    recording.end = timer.now()


async def open_loop(
    call: Call, schedule: Iterator[int], timer: Timer, recording: Recording, *, end: int, most_in_flight: int
) -> None:
    """Make calls by a schedule; what could not be made by its ``end`` is not made.

    Args:
        schedule: moments in order, all before ``end``.
        most_in_flight: calls under way at most; further ones wait here, and that counts as their latency.

    Raises:
        VirtagentError: as :func:`closed_loop`.
    """
    recording.begin = recording.last = timer.now()
    room = asyncio.Semaphore(most_in_flight)
    latest = end + slack_of(recording.begin, end)

    async def one(intended: int) -> None:
        try:
            await _one(call, timer, recording, intended)
        finally:
            room.release()

    async with first_failure(), asyncio.TaskGroup() as group:
        for intended in schedule:
            if intended > timer.now():
                await timer.sleep_until(intended)
            elif recording.made % LATE_IN_A_TURN == 0:
                await asyncio.sleep(0)
            await room.acquire()
            if timer.now() > latest or recording.made == MOST_CALLS:
                recording.overdue = True
                break
            recording.made += 1
            recording.late = timer.now() - intended
            group.create_task(one(intended))
    recording.end = end


async def _one(call: Call, timer: Timer, recording: Recording, intended: int | None) -> None:
    sent = timer.now()
    try:
        stamps = await call()
    except MethodNotFound:
        raise
    except CallError as error:
        recording.samples.fail(error)
        recording.last = timer.now()
    else:
        answered = recording.last = timer.now()
        recording.samples.add(sent if intended is None else intended, sent, stamps, answered)


@asynccontextmanager
async def first_failure() -> AsyncIterator[None]:
    """The first error of a task group, instead of a group of them."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
