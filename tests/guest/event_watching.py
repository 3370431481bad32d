"""A source of events by itself, as tests watch it: each event is checked against the table of kinds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from virtagent.api.event_kinds import KINDS
from virtagent.guest.event_log import EventReader, LoggedEvent, Missed
from virtagent.guest.event_sources import EventSources, Source, Watch
from virtagent.guest.resources import Resources

__all__ = ["LIMIT", "Watched", "watching"]

LIMIT = 30.0
"""Seconds that anything here may take; only a hang reaches it."""


class Watched:
    """What a source tells.

    Attributes:
        source: the source, which runs.
    """

    def __init__(self, source: Source, reader: EventReader) -> None:
        self.source = source
        self._reader = reader

    async def next(self, kind: str = "", **fields: Any) -> LoggedEvent:
        """The next event, or the next one of this kind with these fields."""
        async with asyncio.timeout(LIMIT):
            while True:
                event = await self._reader.next()
                assert event is not None
                assert not isinstance(event, Missed)
                check(event)
                if kind in ("", event.kind) and fields.items() <= event.fields.items():
                    return event


def check(event: LoggedEvent) -> None:
    """The table of kinds tells of it, and of all its fields."""
    assert event.kind in KINDS
    assert event.fields.keys() <= KINDS[event.kind].fields.keys()


@contextlib.asynccontextmanager
async def watching(watch: Watch, resources: Resources | None = None) -> AsyncIterator[Watched]:
    """Run a source until the block ends."""
    resources = resources or Resources()
    sources = EventSources(resources, 0.0, {"it": watch})
    source = sources.all["it"]
    reader = EventReader(resources.events, lambda kind: True, after=resources.events.last)
    source.acquire()
    try:
        async with asyncio.timeout(LIMIT):
            await source.settled()
        yield Watched(source, reader)
    finally:
        reader.close()
        await sources.aclose()
