"""``guest.events``: a subscription that outlives sessions and agents, and ends when it is to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import virtagent
from virtagent.api.events import Event
from virtagent.errors import InvalidArgument, MethodNotFound
from virtagent.guest.event_log import KEPT
from virtagent.guest.event_sources import EventSources, Source
from virtagent.guest.events import EventsService
from virtagent.guest.resources import Resources
from virtagent.host.events import EventStream, Gap

LIMIT = 30.0


class Agent:
    """One run of an agent with a single source.

    Attributes:
        mounts: the source.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.resources = Resources()
        sources = EventSources(self.resources, 3600.0, {"mounts": self._watch})
        self.mounts = sources.all["mounts"]
        self._service = EventsService(self.resources, sources)

    async def _watch(self, source: Source) -> None:
        source.ready()
        await asyncio.Event().wait()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve, until the block ends all sessions."""
        async with virtagent.listen(self._url, services=[self._service]) as listening:
            yield
            await listening.aclose(drain=0.0)

    def mount(self, place: str) -> None:
        self.resources.events.publish("mount.added", mountpoint=place)

    async def stop(self) -> None:
        await self.resources.stop("stop", "the agent was stopped")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/agent.sock"


async def following(events: EventStream) -> Event:
    return await asyncio.wait_for(anext(events), LIMIT)


async def place(events: EventStream) -> object:
    return (await following(events)).fields["mountpoint"]


async def test_what_happens_while_the_session_is_lost_is_told_afterwards(url: str) -> None:
    agent = Agent(url)
    async with agent.serving():
        guest = await virtagent.connect(url)
        events = guest.events("mount.*", "other.*")
        await asyncio.wait_for(events.begin(), LIMIT)
        assert (events.run, events.unmatched) == (agent.resources.events.run, ("other.*",))
        agent.mount("/one")
        assert await place(events) == "/one"
        agent.mount("/two")
    agent.mount("/while nobody was there")
    waiting = [asyncio.create_task(place(events))]
    async with agent.serving():
        places = [await waiting[0], await place(events)]
        assert places in (["/two", "/while nobody was there"],)
        agent.mount("/three")
        assert await place(events) == "/three"
        await events.aclose()
        await guest.aclose()
    await agent.stop()


async def test_an_agent_that_was_started_anew_is_told_as_a_gap_with_all_that_it_has_kept(url: str) -> None:
    first = Agent(url)
    async with first.serving():
        guest = await virtagent.connect(url)
        events = guest.events("mount.*")
        await asyncio.wait_for(events.begin(), LIMIT)
        first.mount("/before")
        assert await place(events) == "/before"
        await first.stop()
    second = Agent(url)
    second.mount("/early")
    async with second.serving():
        gap = await following(events)
        assert isinstance(gap, Gap)
        assert (gap.reason, gap.missed, gap.kind) == ("restarted", None, "events.gap")
        assert await place(events) == "/early"
        assert events.run == second.resources.events.run
        await events.aclose()
        await guest.aclose()
    await second.stop()


async def test_a_gap_says_how_many_are_missing(url: str) -> None:
    agent = Agent(url)
    async with agent.serving(), virtagent.connect(url) as guest, guest.events("mount.*") as events:
        for number in range(5000):
            agent.mount(f"{number}")
        gap = await following(events)
        assert isinstance(gap, Gap)
        assert (gap.missed, gap.reason) == (5000 - KEPT, "slow")
        assert [await place(events) for _ in range(KEPT)] == [f"{number}" for number in range(5000 - KEPT, 5000)]
    await agent.stop()


async def test_leaving_the_block_ends_it_in_the_guest(url: str) -> None:
    agent = Agent(url)
    async with agent.serving(), virtagent.connect(url) as guest:
        async with guest.events("mount.*"):
            assert agent.mounts.subscribers == 1
        while agent.mounts.subscribers:
            await asyncio.sleep(0)
        async with guest.events("mount.*") as events:
            await events.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(events)
    await agent.stop()


async def test_closing_the_guest_ends_the_loop(url: str) -> None:
    agent = Agent(url)
    found: list[Event] = []

    async def loop(events: EventStream) -> None:
        async for event in events:
            found.append(event)  # noqa: PERF401 - each as it comes

    async with agent.serving():
        guest = await virtagent.connect(url)
        events = guest.events("mount.*")
        await asyncio.wait_for(events.begin(), LIMIT)
        looping = asyncio.create_task(loop(events))
        agent.mount("/one")
        while not found:
            await asyncio.sleep(0)
        await guest.aclose()
        await asyncio.wait_for(looping, LIMIT)
    assert [each.fields for each in found] == [{"mountpoint": "/one"}]
    await agent.stop()


async def test_a_refusal_is_raised(url: str) -> None:
    agent = Agent(url)
    async with agent.serving(), virtagent.connect(url) as guest:
        with pytest.raises(InvalidArgument, match="no pattern"):
            await guest.events("not a pattern").begin()
        assert "mount.added" in [each.kind for each in await guest.events.kinds()]
        assert {"subscribe", "kinds", "sources"} <= set(dir(guest.events))
    await agent.stop()


async def test_an_agent_without_events_is_named(url: str) -> None:
    async with virtagent.listen(url), virtagent.connect(url) as guest:
        with pytest.raises(MethodNotFound):
            await anext(guest.events())
