"""What happened in the guest: numbered, and kept for those who come back."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from virtagent.errors import Unavailable

__all__ = ["EventLog", "EventReader", "LoggedEvent", "Missed"]

log = logging.getLogger("virtagent.daemon")

KEPT = 256
"""Events that are kept at most of each kind: one that is frequent does not push out those that are rare."""

MOST_KINDS = 250
"""Kinds that there may be; they come from code, which has some dozens."""

TRAIL = 1 << 16
"""Numbers of which it is known what kind they were, a byte each: so many missed ones are counted exactly."""

LONGEST_TEXT = 4096
"""Characters of a text in a field."""

PATIENCE = 1.0
"""Seconds that the agent's end waits for subscribers to take the last events."""

_NO_KIND = 0


class LoggedEvent(NamedTuple):
    """One event.

    Attributes:
        number: counts up from 1 in one run of the agent.
        time: seconds since 1970 by the guest's clock.
        kind: such as "mount.added".
        fields: plain data.
    """

    number: int
    time: float
    kind: str
    fields: dict[str, Any]


class Missed(NamedTuple):
    """Events that are no longer kept, and were not given.

    Attributes:
        number: of the last one.
        missed: how many.
        at_least: there may have been more.
    """

    number: int
    missed: int
    at_least: bool


class EventLog:
    """The last events of this run of the agent. All of it may be used from any thread.

    Args:
        kept: how many events of each kind are kept.
        trail: for how many numbers it is known what kind they were.

    Attributes:
        run: tells this run of the agent from others.
        last: the greatest number so far.
    """

    def __init__(self, kept: int = KEPT, trail: int = TRAIL) -> None:
        self.run = os.urandom(8).hex()
        self.last = 0
        self._kept = kept
        self._lock = threading.Lock()
        self._rings: dict[str, _Ring] = {}
        self._trail = bytearray()
        self._trail_length = trail
        self._readers: set[EventReader] = set()
        self._stopped = ""

    def publish(self, kind: str, /, **fields: Any) -> int:
        """Something happened.

        Args:
            kind: such as "mount.added"; :data:`virtagent.api.event_kinds.KINDS` lists them.
            fields: plain data; what is None is left out.

        Returns:
            The event's number.
        """
        now = time.time()
        plain = {name: _bounded(value) for name, value in fields.items() if value is not None}
        with self._lock:
            ring = self._rings.get(kind)
            if ring is None:
                if len(self._rings) == MOST_KINDS:
                    log.warning("%s: an event of one kind too many is dropped", kind)
                    return self.last
                ring = self._rings[kind] = _Ring(len(self._rings) + 1)
            event = LoggedEvent(self._advance(ring.code), now, kind, plain)
            ring.add(event, self._kept)
            readers = [each for each in self._readers if each.wants(event)]
        for reader in readers:
            reader.wake()
        return event.number

    def mark(self) -> int:
        """A number that no event has: what happens later has a greater one."""
        with self._lock:
            return self._advance(_NO_KIND)

    def _advance(self, code: int) -> int:
        self.last += 1
        self._trail.append(code)
        if len(self._trail) > 2 * self._trail_length:
            del self._trail[: -self._trail_length]
        return self.last

    def read(self, after: int, reader: EventReader) -> tuple[list[LoggedEvent | Missed], int]:
        """What a reader wants of the events after a number, in order with what is missing; and the last number."""
        with self._lock:
            found: list[LoggedEvent] = []
            counted: list[_Ring] = []
            for kind, ring in self._rings.items():
                if reader.counts(kind):
                    counted.append(ring)
                for event in reversed(ring.events):
                    if event.number <= after:
                        break
                    if reader.wants(event):
                        found.append(event)
            found.sort(key=lambda event: event.number)
            batch: list[LoggedEvent | Missed] = []
            for event in found:
                self._tell_missed(batch, counted, after, event.number - 1)
                batch.append(event)
                after = event.number
            self._tell_missed(batch, counted, after, self.last)
            return batch, self.last

    def _tell_missed(self, batch: list[LoggedEvent | Missed], rings: list[_Ring], after: int, until: int) -> None:
        """Add how many events of these rings have the numbers from ``after`` + 1 to ``until``, if any."""
        rings = [ring for ring in rings if ring.overwritten > after]
        if not rings:
            return
        first = self.last - len(self._trail)
        known = self._trail[max(0, after - first) : max(0, until - first)]
        missed = sum(known.count(ring.code) for ring in rings)
        forgotten = after < first
        if missed or forgotten:
            batch.append(Missed(until, max(missed, 1), forgotten))

    # -- readers -------------------------------------------------------------------------------------------------

    def add(self, reader: EventReader) -> None:
        """Wake a reader from now on."""
        with self._lock:
            self._readers.add(reader)

    def discard(self, reader: EventReader) -> None:
        """Forget a reader."""
        with self._lock:
            self._readers.discard(reader)

    @property
    def stopped(self) -> str:
        """Why there will be no more; "": there will be."""
        return self._stopped

    async def delivered(self, number: int, patience: float) -> None:
        """Wait until each reader has handed what it wants up to this number to its host, or time is up."""
        with self._lock:
            waiting = [asyncio.ensure_future(each.delivered(number)) for each in self._readers]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=patience)
            for each in late:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def stop(self, reason: str, message: str) -> None:
        """The agent goes: tell that as the last event, and end all readers once they have it."""
        if reason in ("shutdown", "reboot") and f"power.{reason}" not in self._rings:
            self.publish(f"power.{reason}")
        number = self.publish("agent.down", reason=reason, message=message)
        self._stopped = message or reason
        await self.delivered(number, PATIENCE)


class _Ring:
    """The last events of one kind.

    Attributes:
        code: the kind in the trail.
        overwritten: the number of the last event that is no longer kept; 0: all are.
    """

    __slots__ = ("code", "events", "overwritten")

    def __init__(self, code: int) -> None:
        self.code = code
        self.events: deque[LoggedEvent] = deque()
        self.overwritten = 0

    def add(self, event: LoggedEvent, kept: int) -> None:
        self.events.append(event)
        if len(self.events) > kept:
            self.overwritten = self.events.popleft().number


def _bounded(value: Any) -> Any:
    return value[:LONGEST_TEXT] if isinstance(value, str) else value


class EventReader:
    """One subscriber's place in the log. It keeps no events but those of one look: whoever is slow misses some.

    Args:
        log: what it reads.
        matches: whether it wants events of a kind.
        also: whether it wants an event of a kind that it does not.
        after: the number that it begins after.
        confirm: returns when the host has what it was handed; None: nobody can tell.

    Attributes:
        position: the number up to which all has been given.
    """

    def __init__(
        self,
        log: EventLog,
        matches: Callable[[str], bool],
        also: Callable[[LoggedEvent], bool] = lambda event: False,
        *,
        after: int,
        confirm: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.position = after
        self._log = log
        self._matches = matches
        self._also = also
        self._known: dict[str, bool] = {}
        self._confirm = confirm
        self._batch: deque[LoggedEvent | Missed] = deque()
        self._read_to = after
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._called = False
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._closed = False
        log.add(self)

    def counts(self, kind: str) -> bool:
        """Whether events of a kind that it did not get are missed."""
        found = self._known.get(kind)
        if found is None:
            found = self._known[kind] = self._matches(kind)
        return found

    def wants(self, event: LoggedEvent) -> bool:
        """Whether it is to get an event."""
        return self.counts(event.kind) or self._also(event)

    def wake(self) -> None:
        """Look again; from any thread. Once is enough until it does: waking a loop is a system call."""
        if not self._called and not self._loop.is_closed():
            self._called = True
            self._loop.call_soon_threadsafe(self._woken.set)

    def begin_here(self) -> None:
        """Begin after what has been published so far."""
        self.position = self._read_to = self._log.last

    async def next(self, *, wait: bool = True) -> LoggedEvent | Missed | None:
        """The next event, or how many are missing before it.

        Args:
            wait: for one that happens yet; without it, None if there is none.

        Raises:
            Unavailable: there will be no more.
        """
        while not self._batch:
            self.position = self._read_to
            self._woken.clear()
            self._called = False  # before it looks: what is published from now on calls again
            batch, self._read_to = self._log.read(self.position, self)
            self._batch.extend(batch)
            if batch:
                break
            self.position = self._read_to
            self._handed_on()
            if not wait:
                return None
            if self._log.stopped or self._closed:
                self.close()
                raise Unavailable(f"no more events: {self._log.stopped or 'closed'}")
            await self._woken.wait()
        self._handed_on()
        item = self._batch.popleft()
        self.position = item.number
        return item

    def _handed_on(self) -> None:
        """Whoever asks again has passed on what it was given."""
        waiting, self._waiting = self._waiting, []
        for number, future in waiting:
            if future.done():
                continue
            if number <= self.position or self._closed:
                future.set_result(None)
            else:
                self._waiting.append((number, future))

    async def delivered(self, number: int) -> None:
        """Return when all it wants up to an event's number has reached its host, or it is closed."""
        if self._closed:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((number, future))
        self._woken.set()
        await future
        if self._confirm is not None and not self._closed:
            await self._confirm()

    def close(self) -> None:
        """End it."""
        self._closed = True
        self._log.discard(self)
        self._woken.set()
        self._handed_on()
