"""What watches for events: each source runs while somebody wants what it tells, and for some time after."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

from virtagent.api.event_kinds import KINDS, SOURCE_FAILED, SOURCE_STARTED
from virtagent.errors import Unavailable
from virtagent.guest.resources import Resources

__all__ = ["SOURCES", "EventSources", "Source", "Watch"]

log = logging.getLogger("virtagent.daemon")

SOURCES: Mapping[str, str] = {
    "devices": "virtagent.guest.events_devices:watch_devices",
    "memory": "virtagent.guest.events_memory:watch_memory",
    "mounts": "virtagent.guest.events_mounts:watch_mounts",
    "network": "virtagent.guest.events_network:watch_network",
    "power": "virtagent.guest.events_power:watch_power",
    "pressure": "virtagent.guest.events_pressure:watch_pressure",
    "units": "virtagent.guest.events_units:watch_units",
    "users": "virtagent.guest.events_users:watch_users",
}
"""Where each source is; it is loaded when it first runs."""

FIRST_RETRY, LONGEST_RETRY = 0.5, 60.0
"""Seconds until a source that failed is started again; each time twice as long."""

STEADY = 60.0
"""A source that ran so many seconds is started again soon."""


class Source:
    """One source, as its own code sees it.

    Args:
        name: as in :data:`SOURCES`.
        watch: the code: it calls :meth:`ready` once whatever happens is seen, and publishes until it is cancelled. It
            raises Unavailable where this guest has not what it needs; any other end is a failure.
        resources: what services share.
        linger: seconds that it goes on when nobody wants it any more.

    Attributes:
        state: see :class:`virtagent.api.events.EventSource`.
        detail: why it does not run.
        subscribers: how many want it.
        since: the number from which on it has told all.
    """

    def __init__(self, name: str, watch: Watch, resources: Resources, linger: float) -> None:
        self.name = name
        self.resources = resources
        self.state = "idle"
        self.detail = ""
        self.subscribers = 0
        self.since = 0
        self._watch = watch
        self._linger = linger
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._settled = asyncio.Event()
        self._told_failure = False

    # -- for its own code ----------------------------------------------------------------------------------------

    def ready(self) -> None:
        """From here on all that happens is published."""
        self.state, self.detail = "running", ""
        self.since = self.resources.events.mark()
        if self._told_failure:
            self._told_failure = False
            self.resources.events.publish(SOURCE_STARTED, source=self.name)
        self._settled.set()

    def publish(self, kind: str, /, **fields: Any) -> int:
        """Something happened; see :meth:`~virtagent.guest.event_log.EventLog.publish`."""
        return self.resources.events.publish(kind, **fields)

    # -- for those who want it -----------------------------------------------------------------------------------

    def acquire(self) -> None:
        """Somebody wants it."""
        self.subscribers += 1
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if self._task is None:
            self.state = "starting"
            self._settled.clear()
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"events of {self.name}")

    def release(self) -> None:
        """Somebody no longer wants it."""
        self.subscribers -= 1
        if not self.subscribers and self._task is not None:
            self._ending = asyncio.get_running_loop().call_later(self._linger, self._end)

    async def settled(self) -> None:
        """Return when it runs, or it is known why it does not."""
        await self._settled.wait()

    def _end(self) -> None:
        self._ending = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self.state, self.detail, self._told_failure = "idle", "", False

    async def aclose(self) -> None:
        """End it now."""
        task = self._task
        if self._ending is not None:
            self._ending.cancel()
        self._end()
        if task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        delay, clock = FIRST_RETRY, asyncio.get_running_loop().time
        while True:
            begun = clock()
            try:
                await self._watch(self)
                self._fail("failed", "it ended")
            except Unavailable as error:
                self._fail("unavailable", error.message)
            except ImportError as error:
                name = (error.name or "a library").partition(".")[0]
                self._fail("unavailable", f"needs {name} in the guest: install virtagent[guest]")
            except Exception as error:
                log.debug("events of %s", self.name, exc_info=True)
                self._fail("failed", f"{type(error).__name__}: {error}")
            if clock() - begun > STEADY:
                delay = FIRST_RETRY
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_RETRY)

    def _fail(self, state: str, detail: str) -> None:
        self._told_failure = True
        if self.state == "running":
            log.warning("events of %s: %s; starting that anew", self.name, detail)
            self.resources.events.publish(SOURCE_FAILED, source=self.name, reason=detail)
        self.state, self.detail = state, detail
        self._settled.set()


Watch = Callable[[Source], Awaitable[None]]


def _loaded_later(where: str) -> Watch:
    async def watch(source: Source) -> None:
        module, _, attribute = where.partition(":")
        await getattr(import_module(module), attribute)(source)

    return watch


class EventSources:
    """All sources, by name.

    Args:
        resources: what services share.
        linger: seconds that a source goes on when nobody wants it any more.
        watches: the code of each; None: :data:`SOURCES`.
    """

    def __init__(self, resources: Resources, linger: float, watches: Mapping[str, Watch] | None = None) -> None:
        found = {name: _loaded_later(where) for name, where in SOURCES.items()} if watches is None else watches
        self.all = {name: Source(name, watch, resources, linger) for name, watch in found.items()}
        resources.on_stop(lambda reason, message: self.aclose())

    def wanted(self, matches: Callable[[str], bool]) -> list[Source]:
        """Those that publish a kind that matches."""
        names = {kind.source for name, kind in KINDS.items() if kind.source and matches(name)}
        return [source for name, source in self.all.items() if name in names]

    async def settled(self, sources: Iterable[Source], patience: float) -> None:
        """Wait until these run, or it is known why they do not, or time is up."""
        waiting = [asyncio.ensure_future(each.settled()) for each in sources]
        if waiting:
            try:
                await asyncio.wait(waiting, timeout=patience)
            finally:
                for each in waiting:
                    each.cancel()

    async def aclose(self) -> None:
        """End all."""
        await asyncio.gather(*(each.aclose() for each in self.all.values()))
