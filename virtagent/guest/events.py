"""The service ``events``."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from virtagent.api.event_kinds import GAP, KINDS, SOURCE_FAILED, SOURCE_STARTED, SUBSCRIBED
from virtagent.api.events import Event, EventKind, Events, EventSource, Number, Patterns, Run
from virtagent.errors import InvalidArgument
from virtagent.guest.event_log import EventLog, EventReader, LoggedEvent, Missed
from virtagent.guest.event_sources import EventSources, Source
from virtagent.guest.resources import GuestService, Resources
from virtagent.peer.context import Context
from virtagent.service.options import method

__all__ = ["EventsService", "Subscription"]

PATIENCE = 5.0
"""Seconds that a subscription waits for its sources to start."""

CONFIRMED = 1.0
"""Seconds in which a host has to say that it is there, before the guest goes to sleep or down."""

_PATTERN = re.compile(r"[a-z0-9_.*?\[\]!-]+")


class EventsService(GuestService, Events):
    """Gives events to those who subscribe.

    Args:
        resources: what services share.
        sources: what watches for events; None: all there are.
    """

    def __init__(self, resources: Resources | None = None, sources: EventSources | None = None) -> None:
        super().__init__(resources)
        linger = self.resources.configuration.events.linger
        self._sources = sources or EventSources(self.resources, linger)

    @method(inline=True)
    def subscribe(
        self,
        kinds: Patterns = ("*",),
        *,
        after: Number | None = None,
        run: Run = "",
        follow: bool = True,
        ctx: Context | None = None,
    ) -> AsyncIterator[Event]:
        for pattern in kinds:
            if not _PATTERN.fullmatch(pattern):
                raise InvalidArgument(
                    f"kinds: {pattern!r} is no pattern of kinds; write such as mount.* or unit.failed"
                )
        grants = self.resources.grants
        with ExitStack() as stack:
            stack.enter_context(grants.hold(ctx, "watches", grants.of(ctx).watches))
            sources = self._sources if follow else None
            return Subscription(self.resources.events, sources, kinds, after, run, stack.pop_all(), ctx)

    @method(inline=True)
    async def kinds(self) -> list[EventKind]:
        return [
            EventKind(kind=name, summary=kind.summary, fields=dict(kind.fields), source=kind.source)
            for name, kind in KINDS.items()
        ]

    @method(inline=True)
    async def sources(self) -> list[EventSource]:
        return [
            EventSource(
                source=each.name,
                state=each.state,  # type: ignore[arg-type]
                kinds=tuple(name for name, kind in KINDS.items() if kind.source == each.name),
                subscribers=each.subscribers,
                detail=each.detail,
            )
            for each in self._sources.all.values()
        ]


class Subscription(AsyncIterator[Event]):
    """The events that one subscriber asked for. Its place in the log is kept from when it is made.

    Args:
        events: the log.
        sources: what watches for events; None: give only what is kept.
        patterns: of the kinds.
        after: the number to begin after; None: the last one.
        run: of which run that number is; "": of this one.
        held: what is let go of when it ends.
        ctx: of the call that asked for it; None: the agent itself did.
    """

    def __init__(
        self,
        events: EventLog,
        sources: EventSources | None,
        patterns: Patterns,
        after: int | None,
        run: str,
        held: ExitStack,
        ctx: Context | None,
    ) -> None:
        self._log = events
        self._all = sources
        self._patterns = patterns
        self._held = held
        self._sources = [] if sources is None else sources.wanted(self._matches)
        self._names = {each.name for each in self._sources}
        self._other_run = after is not None and (run not in ("", self._log.run) or after > self._log.last)
        start = self._log.last if after is None else 0 if self._other_run else after
        self._resumes = after is not None
        self._peer = None if ctx is None else ctx.peer
        self._first: deque[Event] | None = None
        self._reader = EventReader(
            self._log, self._matches, self._is_of_a_source, after=start, confirm=self._confirm if ctx else None
        )
        for each in self._sources:
            each.acquire()

    def _matches(self, kind: str) -> bool:
        return any(fnmatchcase(kind, pattern) for pattern in self._patterns)

    def _is_of_a_source(self, event: LoggedEvent) -> bool:
        return event.kind in (SOURCE_FAILED, SOURCE_STARTED) and event.fields.get("source") in self._names

    async def _confirm(self) -> None:
        if self._peer is not None:
            await self._peer.ping(CONFIRMED)

    async def __anext__(self) -> Event:
        if self._first is None:
            self._first = deque(await self._begin())
        if self._first:
            return self._first.popleft()
        item = await self._reader.next(wait=self._all is not None)
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, Missed):
            at_least = {"at_least": True} if item.at_least else {}
            return _event(item.number, GAP, {"missed": item.missed, "reason": "slow", **at_least})
        return Event(number=item.number, time=_moment(item.time), kind=item.kind, fields=item.fields)

    async def _begin(self) -> list[Event]:
        """Wait for the sources; tell what cannot work, and what was missed while nobody watched."""
        if self._all is not None:
            await self._all.settled(self._sources, PATIENCE)
            if not self._resumes:
                self._reader.begin_here()
        number = self._reader.position
        fields = {
            "run": self._log.run,
            "unavailable": {each.name: _why(each) for each in self._sources if each.state != "running"},
            "unmatched": [each for each in self._patterns if not any(fnmatchcase(kind, each) for kind in KINDS)],
        }
        begin = [_event(number, SUBSCRIBED, fields)]
        unwatched = [each.name for each in self._sources if each.state == "running" and each.since > number]
        if self._other_run:
            begin.append(_event(number, GAP, {"reason": "restarted"}))
        elif self._resumes and unwatched:
            begin.append(_event(number, GAP, {"reason": "unwatched", "sources": unwatched}))
        return begin

    async def aclose(self) -> None:
        """No longer wanted."""
        self._held.close()
        self._reader.close()
        sources, self._sources = self._sources, []
        for each in sources:
            each.release()


def _why(source: Source) -> str:
    return source.detail or f"it has not started within {PATIENCE:g} s"


def _event(number: int, kind: str, fields: dict[str, Any]) -> Event:
    return Event(number=number, time=datetime.now(UTC), kind=kind, fields=fields)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
