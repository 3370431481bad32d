"""What happens in a guest, as host tooling hears of it: without end, across sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from virtagent.api.event_kinds import GAP, SUBSCRIBED
from virtagent.api.events import Event, Events
from virtagent.errors import DeadlineExceeded, PeerClosed, SessionLost, Unavailable
from virtagent.host.delegate import Delegate
from virtagent.peer.caller import Caller
from virtagent.service.streams import TypedStream
from virtagent.service.stub import stub

__all__ = ["EventStream", "Gap", "GuestEvents"]

if TYPE_CHECKING:
    _Base = Events
else:
    _Base = Delegate

FIRST_RETRY, LONGEST_RETRY = 0.1, 5.0
"""Seconds until a subscription that was lost is asked for again; each time twice as long."""


class Gap(Event, frozen=True, kw_only=True):
    """Some events were missed between the one before and the one after: an event of kind ``events.gap``."""

    @property
    def missed(self) -> int | None:
        """How many; None: that is not known."""
        missed = self.fields.get("missed")
        return missed if isinstance(missed, int) else None

    @property
    def reason(self) -> str:
        """Why: "slow", "restarted" (the agent was) or "unwatched" (nobody watched for them in the mean time)."""
        return str(self.fields.get("reason", ""))


class EventStream(AsyncIterator[Event]):
    """The events of a guest. It is asked for again, from the last one on, whenever the session is lost.

    Leaving an ``async with`` block, or ``aclose``, ends it in the guest, too. It ends by itself when the guest's handle
    is closed.

    Attributes:
        number: of the last event that was given.
        run: the agent's run that it belongs to.
        unavailable: the sources that cannot work in this guest: why, by name; known after the first event.
        unmatched: the patterns that match no kind of event that the guest knows; known after the first event.
    """

    def __init__(self, events: Events, kinds: tuple[str, ...], after: int | None, run: str) -> None:
        self.number = after
        self.run = run
        self.unavailable: Mapping[str, str] = {}
        self.unmatched: tuple[str, ...] = ()
        self._events = events
        self._kinds = kinds
        self._stream: TypedStream[Event] | None = None
        self._retry = FIRST_RETRY
        self._closed = False

    async def begin(self) -> None:
        """Return when the guest watches: what happens from then on is told.

        Raises:
            CallError: the guest refuses; MethodNotFound: its agent has no events.
            PeerClosed: the guest's handle is closed.
        """
        while self._stream is None:
            stream = TypedStream.of(self._events.subscribe(self._kinds, after=self.number, run=self.run))
            try:
                self._take(await anext(stream))
            except (SessionLost, DeadlineExceeded, Unavailable):
                await self._pause(stream)
            except BaseException:
                await stream.aclose()
                raise
            else:
                self._stream, self._retry = stream, FIRST_RETRY

    async def __anext__(self) -> Event:
        while not self._closed:
            try:
                await self.begin()
                if self._stream is None:
                    break
                event = await anext(self._stream)
            except (SessionLost, DeadlineExceeded, Unavailable, StopAsyncIteration):
                stream, self._stream = self._stream, None
                await self._pause(stream)
            except PeerClosed:
                break
            else:
                return self._take(event)
        raise StopAsyncIteration

    def _take(self, event: Event) -> Event:
        self.number = event.number
        if event.kind == SUBSCRIBED:
            self.run = str(event.fields.get("run", ""))
            self.unavailable = dict(event.fields.get("unavailable") or {})
            self.unmatched = tuple(event.fields.get("unmatched") or ())
        if event.kind == GAP:
            return Gap(number=event.number, time=event.time, kind=event.kind, fields=event.fields)
        return event

    async def _pause(self, stream: TypedStream[Event] | None) -> None:
        if stream is not None:
            with suppress(SessionLost, PeerClosed):
                await stream.aclose()
        await asyncio.sleep(self._retry)
        self._retry = min(self._retry * 2, LONGEST_RETRY)

    async def aclose(self) -> None:
        """End it. Closing twice does nothing."""
        self._closed = True
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()

    async def __aenter__(self) -> EventStream:
        await self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class GuestEvents(_Base):
    """``guest.events``: called, it subscribes; its methods are those of :class:`~virtagent.api.events.Events`."""

    def __init__(self, caller: Caller) -> None:
        self._stub = stub(Events, caller)

    def __call__(self, *kinds: str, after: int | None = None, run: str = "") -> EventStream:
        """Events of some kinds as they happen, without end.

        ::

            async with guest.events("mount.*", "unit.failed") as events:
                async for event in events:
                    if isinstance(event, Gap):
                        print("missed", event.missed)
                    print(event.kind, event.fields)

        Within the block the guest watches already; ``async for event in guest.events(...)`` begins with the loop.

        Args:
            kinds: patterns (fnmatch); none: all kinds.
            after: begin after the event of this number, with what the agent has kept.
            run: the agent's run that ``after`` is of, as an earlier stream had it; "": the present one.
        """
        return EventStream(self._stub, kinds or ("*",), after, run)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._stub)})
