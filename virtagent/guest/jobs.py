"""The service ``jobs``."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from virtagent.api.jobs import (
    DEFAULT_KEPT,
    FINISHED_JOBS,
    MOST_KEPT,
    RUNNING_JOBS,
    JobInfo,
    JobOutput,
    Jobs,
)
from virtagent.api.processes import Command, Environment, Signal, StderrMode
from virtagent.errors import FailedPrecondition, NotFound, PermissionDenied, ResourceExhausted
from virtagent.guest.children import Children
from virtagent.guest.grants import Grant
from virtagent.guest.job import Job
from virtagent.guest.resources import GuestService, Resources
from virtagent.guest.signals import signal_number
from virtagent.peer.context import Context
from virtagent.service.options import method

__all__ = ["JobsService"]

MOST_KEPT_ALTOGETHER = 4 * MOST_KEPT
"""Bytes of output that all jobs may keep; finished ones are forgotten for new ones."""


class JobsService(GuestService, Jobs):
    """Keeps jobs in memory: they end with the agent, and are forgotten."""

    def __init__(self, resources: Resources | None = None) -> None:
        super().__init__(resources)
        self._children = Children()
        self._jobs: dict[int, Job] = {}
        self._running: Counter[str] = Counter()
        self._reserved = 0
        self._last = 0
        self.resources.on_stop(self._children.stop)
        self.resources.reports["jobs"] = lambda: [each.info(command=False) for each in self._jobs.values()]

    # -- starting ------------------------------------------------------------------------------------------------

    async def start(
        self,
        command: Command,
        *,
        env: Environment | None = None,
        stderr: StderrMode = "pipe",
        stdin: bool = False,
        keep: int = DEFAULT_KEPT,
        name: str = "",
        ctx: Context | None = None,
    ) -> JobInfo:
        grant = self.resources.grants.of(ctx)
        self._make_room(keep)
        self._reserved += keep
        try:
            child = await self._children.start(
                command, env, grant, grant.who, held=self._hold(grant), stdin=stdin, stderr=stderr
            )
        finally:
            self._reserved -= keep
        self._last += 1
        job = Job(self._last, command, child, keep=keep, name=name, owner=grant.who)
        self._jobs[job.number] = job
        job.done.add_done_callback(lambda _: self._forget_old())
        return job.info(command=True)

    @contextmanager
    def _hold(self, grant: Grant) -> Iterator[None]:
        """While a job runs, its owner has one more, in whatever session.

        Raises:
            ResourceExhausted: it has as many as it may, or all have.
        """
        if self._running.total() >= RUNNING_JOBS:
            raise ResourceExhausted(f"{RUNNING_JOBS} jobs run, as many as there may be; end one first")
        if self._running[grant.who] >= grant.processes:
            raise ResourceExhausted(f"you have {grant.processes} jobs, which is all that this agent's policy lets you")
        self._running[grant.who] += 1
        try:
            yield
        finally:
            self._running[grant.who] -= 1
            self._running += Counter()  # drops those who have none

    def _make_room(self, keep: int) -> None:
        """Forget finished jobs, the oldest first, for the output of another one.

        Raises:
            ResourceExhausted: those that run have it all.
        """
        total = self._reserved + sum(job.keep for job in self._jobs.values())
        for job in self._finished():
            if total + keep <= MOST_KEPT_ALTOGETHER:
                break
            total -= job.keep
            del self._jobs[job.number]
        if total + keep > MOST_KEPT_ALTOGETHER:
            raise ResourceExhausted(
                f"the jobs that run keep {total} bytes of output, all together they may keep {MOST_KEPT_ALTOGETHER};"
                " end one, or keep less"
            )

    def _forget_old(self) -> None:
        for job in self._finished()[:-FINISHED_JOBS]:
            del self._jobs[job.number]

    def _finished(self) -> list[Job]:
        found = [(job.ended, job.number, job) for job in self._jobs.values() if job.ended is not None]
        return [job for _, _, job in sorted(found)]

    # -- what there is -------------------------------------------------------------------------------------------

    async def list(self, *, ctx: Context | None = None) -> tuple[JobInfo, ...]:
        command = _may_see_commands(self.resources.grants.of(ctx))
        return tuple(job.info(command=command) for job in self._jobs.values())

    async def status(self, job: int, *, ctx: Context | None = None) -> JobInfo:
        return self._job(job).info(command=_may_see_commands(self.resources.grants.of(ctx)))

    def _job(self, number: int) -> Job:
        found = self._jobs.get(number)
        if found is None:
            raise NotFound(f"there is no job {number}; finished jobs are forgotten after a while, and with the agent")
        return found

    def _own_job(self, number: int, ctx: Context | None) -> Job:
        """A job that the caller may touch."""
        found, grant = self._job(number), self.resources.grants.of(ctx)
        if grant.commands is not None and found.owner != grant.who:
            raise PermissionDenied(f"job {number} is another caller's; this one may run certain programs only")
        return found

    # -- one job -------------------------------------------------------------------------------------------------

    @method(inline=True)
    def output(
        self, job: int, *, offset: int | None = None, follow: bool = True, ctx: Context | None = None
    ) -> AsyncIterator[JobOutput]:
        # A plain `def`, inline: nothing here blocks, and its errors answer the call itself.
        found = self._own_job(job, ctx)
        return found.output(found.info(command=False).kept_from if offset is None else offset, follow=follow)

    async def write(
        self, job: int, data: AsyncIterator[bytes], *, close: bool = False, ctx: Context | None = None
    ) -> int:
        return await self._own_job(job, ctx).write(data, close=close)

    async def wait(self, job: int, *, ctx: Context | None = None) -> JobInfo:
        found = self._own_job(job, ctx)
        await asyncio.shield(found.done)
        return found.info(command=True)

    async def signal(self, job: int, signal: Signal = "SIGTERM", *, ctx: Context | None = None) -> None:
        number = signal_number(signal)
        found = self._own_job(job, ctx)
        if found.child.exited.done():
            raise FailedPrecondition(f"job {job} has ended")
        found.child.signal(number)

    async def resize(self, job: int, columns: int, rows: int, *, ctx: Context | None = None) -> None:
        self._own_job(job, ctx).child.resize(columns, rows)

    async def remove(self, job: int, *, kill: bool = False, ctx: Context | None = None) -> None:
        found = self._own_job(job, ctx)
        if found.running:
            if not kill:
                raise FailedPrecondition(f"job {job} runs; end it first, or remove it with kill")
            found.child.terminate()
            await asyncio.shield(found.done)
        self._jobs.pop(job, None)


def _may_see_commands(grant: Grant) -> bool:
    """Command lines may hold secrets."""
    return bool(grant.roles & {"exec", "admin"})
