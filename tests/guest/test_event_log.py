"""The log of events: nothing is told twice, nothing is missed without being told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.errors import Unavailable
from virtagent.guest.event_log import LONGEST_TEXT, MOST_KINDS, EventLog, EventReader, LoggedEvent, Missed

LIMIT = 20.0


def every(kind: str) -> bool:
    return True


async def taken(reader: EventReader) -> list[LoggedEvent | Missed]:
    """All that is there."""
    found = []
    while (item := await reader.next(wait=False)) is not None:
        found.append(item)
    return found


async def test_events_are_numbered_and_told_in_their_order() -> None:
    log = EventLog()
    reader = EventReader(log, every, after=0)
    for number in range(1, 6):
        assert log.publish("a" if number % 2 else "b", value=number, nothing=None) == number
    found = await taken(reader)
    assert [each.number for each in found] == [1, 2, 3, 4, 5]
    assert [each.fields for each in found if isinstance(each, LoggedEvent)] == [{"value": n} for n in range(1, 6)]
    assert await taken(reader) == []


async def test_a_reader_is_woken_by_what_it_wants_from_any_thread() -> None:
    log = EventLog()
    reader = EventReader(log, lambda kind: kind == "wanted", after=0)
    waiting = asyncio.create_task(reader.next())

    def publish() -> None:
        log.publish("other")
        log.publish("wanted", by="a thread")

    thread = threading.Thread(target=publish)
    thread.start()
    event = await asyncio.wait_for(waiting, LIMIT)
    thread.join()
    assert isinstance(event, LoggedEvent)
    assert (event.number, event.fields) == (2, {"by": "a thread"})


async def test_a_frequent_kind_does_not_push_out_a_rare_one() -> None:
    log = EventLog(kept=4)
    log.publish("rare")
    for _ in range(1000):
        log.publish("frequent")
    rare = await taken(EventReader(log, lambda kind: kind == "rare", after=0))
    assert [(each.number, type(each)) for each in rare] == [(1, LoggedEvent)]


async def test_what_was_missed_is_told_where_it_was_and_exactly_once() -> None:
    log = EventLog(kept=2)
    for kind in "aabaaab":
        log.publish(kind)
    found = await taken(EventReader(log, every, after=0))
    assert found[0] == Missed(2, 2, False)
    assert [each.number for each in found if isinstance(each, LoggedEvent)] == [3, 5, 6, 7]
    assert found[2] == Missed(4, 1, False)
    # Who comes back with the number of what it was given last, a gap included, is told the rest.
    assert await taken(EventReader(log, every, after=2)) == found[1:]
    assert await taken(EventReader(log, every, after=4)) == found[3:]


@given(
    st.lists(st.sampled_from("abc"), max_size=60),
    st.integers(1, 5),
    st.sets(st.sampled_from("abc")),
    st.lists(st.integers(0, 60), max_size=4),
)
def test_events_and_missed_ones_add_up_to_what_was_published(
    kinds: list[str], kept: int, wanted: set[str], stops: list[int]
) -> None:
    """Read at any moments, from any place: each event that is wanted is given, or counted as missed where it was."""

    async def run() -> None:
        log = EventLog(kept=kept)
        reader = EventReader(log, wanted.__contains__, after=0)
        found: list[LoggedEvent | Missed] = []
        for position, kind in enumerate(kinds):
            if position in stops:
                found += await taken(reader)
            log.publish(kind)
        found += await taken(reader)
        position = 0
        for item in found:
            before = [kinds[number - 1] in wanted for number in range(position + 1, item.number)]
            if isinstance(item, Missed):
                before.append(kinds[item.number - 1] in wanted)
                assert (item.missed, item.at_least) == (sum(before), False)
            else:
                assert not any(before)
                assert item.kind == kinds[item.number - 1]
            position = item.number
        assert not any(kind in wanted for kind in kinds[position:])

    asyncio.run(run())


async def test_how_many_were_missed_is_a_lower_bound_when_their_kinds_are_forgotten() -> None:
    log = EventLog(kept=1, trail=4)
    for kind in "a" * 20:
        log.publish(kind)
    found = await taken(EventReader(log, every, after=0))
    assert isinstance(found[0], Missed)
    assert found[0].at_least
    assert 1 <= found[0].missed <= 19
    assert [type(each) for each in found] == [Missed, LoggedEvent]


async def test_nothing_is_missed_of_kinds_that_are_all_kept_however_long_ago() -> None:
    log = EventLog(kept=4, trail=4)
    log.publish("rare")
    for _ in range(100):
        log.publish("frequent")
    found = await taken(EventReader(log, lambda kind: kind == "rare", after=0))
    assert [each.number for each in found] == [1]


async def test_a_slow_reader_costs_the_log_nothing() -> None:
    log = EventLog(kept=8)
    reader = EventReader(log, every, after=0)
    for _ in range(10_000):
        log.publish("a")
    found = await taken(reader)
    assert isinstance(found[0], Missed)
    assert found[0].missed == 10_000 - 8
    assert len(found) == 1 + 8


async def test_a_mark_is_no_event() -> None:
    log = EventLog(kept=1)
    log.publish("a")
    assert log.mark() == 2
    assert log.publish("a") == 3
    assert [each.number for each in await taken(EventReader(log, every, after=1))] == [3]


async def test_delivered_waits_for_those_who_want_it_and_no_longer_than_it_may() -> None:
    log = EventLog()
    confirmed = asyncio.Event()

    async def confirm() -> None:
        confirmed.set()

    reader = EventReader(log, every, after=0, confirm=confirm)
    other = EventReader(log, lambda kind: False, after=0)
    idle = asyncio.create_task(other.next())
    number = log.publish("a")
    first = await reader.next()
    delivered = asyncio.create_task(log.delivered(number, LIMIT))
    await asyncio.sleep(0)
    assert not delivered.done()  # it was given, and nobody says that it was passed on
    assert first is not None
    again = asyncio.create_task(reader.next())
    await asyncio.wait_for(delivered, LIMIT)
    assert confirmed.is_set()
    again.cancel()
    idle.cancel()
    reader.close()
    other.close()

    stuck = EventReader(log, every, after=0)
    await log.delivered(number, 0.01)  # nobody reads there
    stuck.close()
    await log.delivered(number, LIMIT)


@pytest.mark.parametrize(("reason", "kinds"), [("stop", ["agent.down"]), ("reboot", ["power.reboot", "agent.down"])])
async def test_the_end_is_the_last_event(reason: str, kinds: list[str]) -> None:
    log = EventLog()
    reader = EventReader(log, every, after=0)
    told: list[str] = []

    async def read() -> None:
        while True:
            item = await reader.next()
            assert isinstance(item, LoggedEvent)
            told.append(item.kind)

    reading = asyncio.create_task(read())
    await log.stop(reason, "the agent goes")
    with pytest.raises(Unavailable, match="the agent goes"):
        await asyncio.wait_for(reading, LIMIT)
    assert told == kinds


async def test_texts_and_kinds_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    log = EventLog(kept=1)
    log.publish("a", text="x" * 10_000)
    (event,) = await taken(EventReader(log, every, after=0))
    assert isinstance(event, LoggedEvent)
    assert len(event.fields["text"]) == LONGEST_TEXT
    for number in range(MOST_KINDS + 1):
        log.publish(f"kind{number}")
    assert "one kind too many" in caplog.text
    assert log.last == MOST_KINDS


def test_a_reader_whose_loop_is_closed_wakes_nobody() -> None:
    log = EventLog()

    async def make() -> Callable[[], None]:
        return EventReader(log, every, after=0).wake

    asyncio.run(make())()
    log.publish("a")
