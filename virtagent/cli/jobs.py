"""``virtagent jobs``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from virtagent.cli.default_command import DefaultGroup
from virtagent.cli.exit_status import Status, status_of
from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.sizes import human_size
from virtagent.cli.table import show_table
from virtagent.cli.target import Settings
from virtagent.cli.text import to_json

if TYPE_CHECKING:
    from virtagent.api.jobs import JobInfo
    from virtagent.host.guest import Guest

__all__ = ["command"]

HEADINGS = ("JOB", "STATE", "PID", "STARTED", "OUTPUT", "NAME", "COMMAND")


@click.group(
    short_help="List, wait for, signal and remove programs that run detached.",
    cls=DefaultGroup,
    epilog="""\b
Examples:
  virtagent --to web1 exec --detach --name backup tar cf /backup.tar /srv
  virtagent --to web1 jobs
  virtagent --to web1 attach 1
  virtagent --to web1 jobs wait 1 && virtagent --to web1 jobs rm 1""",
)
def command() -> None:
    """List, wait for, signal and remove jobs: programs that were started with exec --detach."""


def state(job: JobInfo) -> str:
    """``running``, ``exit 0``, ``SIGKILL``, ``timed out``."""
    if job.exited is None:
        return job.state
    if job.exited.timed_out:
        return "timed out"
    return job.exited.signal or f"exit {job.exited.code}"


@command.command("list")
@shared_options
def list_jobs(settings: Settings) -> int:
    """List jobs that run, and those that have ended and were not removed."""

    async def list_them(guest: Guest) -> None:
        found = await guest.jobs.list()
        if settings.json:
            for job in found:
                say(to_json(job))
            return
        rows = [
            (
                job.job,
                state(job),
                job.pid,
                f"{job.started.astimezone():%F %T}",
                human_size(job.written),
                job.name or "-",
                job.command,
            )
            for job in found
        ]
        show_table(HEADINGS, rows, right=("JOB", "PID", "OUTPUT"))

    return with_guest(settings, list_them)


@command.command("wait")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=click.IntRange(min=1))
@shared_options
def wait(settings: Settings, jobs: tuple[int, ...]) -> int:
    """Wait until jobs have ended. The exit code is the last one's, as for exec; --timeout limits the waiting."""
    status = Status()

    async def wait_for_them(guest: Guest) -> None:
        patient = guest.with_options(deadline=settings.timeout or math.inf)
        for number in jobs:
            job = await patient.jobs.wait(number)
            say(to_json(job) if settings.json else f"{job.job}: {state(job)}")
            if job.exited is not None and number == jobs[-1]:
                status.code = status_of(job.exited)

    return status.final(with_guest(settings, wait_for_them))


@command.command("kill")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=click.IntRange(min=1))
@click.option("-s", "--signal", default="TERM", metavar="SIGNAL", help="The signal, such as HUP or KILL. [TERM]")
@shared_options
def kill(settings: Settings, jobs: tuple[int, ...], signal: str) -> int:
    """Send a signal to the process groups of jobs."""

    async def signal_them(guest: Guest) -> None:
        for number in jobs:
            await guest.jobs.signal(number, signal)

    return with_guest(settings, signal_them)


@command.command("rm")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=click.IntRange(min=1))
@click.option("-f", "--force", is_flag=True, help="End those that run.")
@shared_options
def remove(settings: Settings, jobs: tuple[int, ...], force: bool) -> int:
    """Forget jobs and their output."""

    async def remove_them(guest: Guest) -> None:
        for number in jobs:
            await guest.jobs.remove(number, kill=force)

    return with_guest(settings, remove_them)
