"""The service ``stats``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import msgspec

from virtagent.api.stats import Groups, Interval, Number, Over, Ranking, Receipts, Sample, SamplePatch, Stats, Top
from virtagent.errors import Unavailable
from virtagent.guest.filesystem_use import FilesystemUses
from virtagent.guest.merge_patch import merge_patch
from virtagent.guest.resources import GuestService, Resources
from virtagent.guest.sampler import Sampler
from virtagent.guest.schedule import Schedule
from virtagent.peer.context import Context
from virtagent.peer.peer import Peer
from virtagent.service.options import method

__all__ = ["StatsService"]

Item = TypeVar("Item")

THREADS = 2
"""Samples that are made at a time; all readers together need a few milliseconds each."""

UNDER_WAY = 2
"""Samples that a reader who gives receipts may have not taken yet."""


class Ledger:
    """What one reader has taken, so that it never finds a backlog."""

    def __init__(self) -> None:
        self._sent: list[int] = []
        self._room = asyncio.Event()
        self._room.set()

    async def room(self) -> None:
        """Wait until fewer than :data:`UNDER_WAY` samples are under way."""
        await self._room.wait()

    def sent(self, number: int) -> None:
        """One more is under way."""
        self._sent.append(number)
        if len(self._sent) >= UNDER_WAY:
            self._room.clear()

    def took(self, number: int) -> None:
        """The reader has this one, and those before."""
        self._sent = [each for each in self._sent if each > number]
        if len(self._sent) < UNDER_WAY:
            self._room.set()


class StatsService(GuestService, Stats):
    """Samples, made in threads.

    Args:
        resources: what services share.
        make_sampler: makes a sampler, given ``groups``, ``top`` and ``by``; None: of this machine.
    """

    def __init__(
        self, resources: Resources | None = None, *, make_sampler: Callable[..., Sampler] | None = None
    ) -> None:
        super().__init__(resources)
        filesystems = FilesystemUses()
        self._make_sampler = make_sampler or (lambda **options: Sampler(filesystems, **options))
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="virtagent-stats")
        self._receipts: WeakKeyDictionary[Peer, dict[str, Ledger]] = WeakKeyDictionary()
        self._stopped = asyncio.Event()
        self._stop_message = ""
        self.resources.on_stop(self._stop)

    def _stop(self, reason: str, message: str) -> None:
        self._stop_message = message
        self._stopped.set()

    async def _take(self, sampler: Sampler, number: int) -> Sample:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, sampler.take, number)
        except OSError as error:
            raise Unavailable(f"the kernel does not tell: {error}") from None

    async def sample(
        self, *, groups: Groups | None = None, over: Over = 0.0, top: Top = 10, by: Ranking = "cpu"
    ) -> Sample:
        sampler = self._make_sampler(groups=groups, top=top, by=by)
        found = await self._take(sampler, 0)
        if over:
            await asyncio.sleep(over)
            found = await self._take(sampler, 0)
        return found

    @method(inline=True)
    def watch(
        self,
        *,
        interval: Interval = 1.0,
        groups: Groups | None = None,
        top: Top = 10,
        by: Ranking = "cpu",
        receipts: Receipts = "",
        ctx: Context | None = None,
    ) -> AsyncIterator[Sample]:
        # A plain `def`: that there are too many answers the call itself.
        sampler = self._make_sampler(groups=groups, top=top, by=by)
        return self._held(ctx, self._samples(interval, sampler, receipts, ctx))

    @method(inline=True)
    def changes(
        self,
        *,
        interval: Interval = 1.0,
        groups: Groups | None = None,
        top: Top = 10,
        by: Ranking = "cpu",
        receipts: Receipts = "",
        ctx: Context | None = None,
    ) -> AsyncIterator[SamplePatch]:
        sampler = self._make_sampler(groups=groups, top=top, by=by)
        return self._held(ctx, _patches(self._samples(interval, sampler, receipts, ctx)))

    def _held(self, ctx: Context | None, source: AsyncGenerator[Item, None]) -> AsyncIterator[Item]:
        """A stream that counts among its caller's watches."""
        grants = self.resources.grants
        with ExitStack() as stack:
            stack.enter_context(grants.hold(ctx, "watches", grants.of(ctx).watches))
            return Held(source, stack.pop_all())

    async def _samples(
        self, interval: float, sampler: Sampler, receipts: str, ctx: Context | None
    ) -> AsyncGenerator[Sample, None]:
        clock = asyncio.get_running_loop().time
        schedule = Schedule(interval, clock())
        ledger = self._ledger(receipts, ctx)
        try:
            while True:
                if ledger is not None:
                    await self._unless_stopped(ledger.room())
                number, seconds = schedule.next_tick(clock())
                await self._sleep(seconds)
                sample = await self._take(sampler, number)
                if ledger is not None:
                    ledger.sent(number)
                yield sample
        finally:
            if ledger is not None and ctx is not None:
                self._receipts.get(ctx.peer, {}).pop(receipts, None)

    def _ledger(self, name: str, ctx: Context | None) -> Ledger | None:
        if not name or ctx is None:
            return None
        made = self._receipts.setdefault(ctx.peer, {})[name] = Ledger()
        return made

    async def _sleep(self, seconds: float) -> None:
        """Wait; raises Unavailable when the agent goes."""
        if seconds > 0:
            try:
                await asyncio.wait_for(self._stopped.wait(), seconds)
            except TimeoutError:
                return
        if self._stopped.is_set():
            raise Unavailable(self._stop_message)

    async def _unless_stopped(self, waiting: Any) -> None:
        tasks = [asyncio.ensure_future(waiting), asyncio.ensure_future(self._stopped.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in tasks:
                each.cancel()
        await self._sleep(0)

    @method(inline=True)
    def took(self, receipts: Receipts, number: Number, ctx: Context | None = None) -> None:
        ledger = None if ctx is None else self._receipts.get(ctx.peer, {}).get(receipts)
        if ledger is not None:
            ledger.took(number)


class Held(AsyncIterator[Item]):
    """A stream's source, and what is let go with it, even if nobody ever read from it."""

    def __init__(self, source: AsyncGenerator[Item, None], holds: ExitStack) -> None:
        self._source = source
        self._holds = holds

    async def __anext__(self) -> Item:
        return await anext(self._source)

    async def aclose(self) -> None:
        """End it."""
        self._holds.close()
        await self._source.aclose()


async def _patches(samples: AsyncGenerator[Sample, None]) -> AsyncGenerator[SamplePatch, None]:
    last: dict[str, Any] = {}
    try:
        async for sample in samples:
            plain = msgspec.to_builtins(sample, builtin_types=(datetime,))
            yield SamplePatch(patch=merge_patch(last, plain))
            last = plain
    finally:
        await samples.aclose()
