"""``virtagent units``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from virtagent.cli.default_command import DefaultGroup
from virtagent.cli.failures import EXIT_OK
from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.table import show_table
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json

if TYPE_CHECKING:
    from virtagent.api.units import UnitFileChange, UnitStatus
    from virtagent.host.guest import Guest

__all__ = ["command"]

HEADINGS = ("UNIT", "LOAD", "ACTIVE", "SUB", "DESCRIPTION")
STATES = ("active", "reloading", "inactive", "failed", "activating", "deactivating", "maintenance")
NOT_ACTIVE = 3
"""The exit code of ``systemctl status`` for a unit that does not run (LSB)."""


@click.group(
    cls=DefaultGroup,
    epilog="""\b
Examples:
  virtagent --to web1 units --failed
  virtagent --to web1 units restart nginx
  virtagent --to web1 units wait --timeout 120 postgresql
  virtagent --to web1 units logs -f -n 50 ssh""",
)
def command() -> None:
    """List, start, stop and enable the guest's systemd units. A name without a suffix is that of a service."""


@command.command("list")
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option("--failed", is_flag=True, help="Only units that failed.")
@click.option("--state", multiple=True, type=click.Choice(STATES), help="Only units in this state; may be repeated.")
@click.option("-t", "--type", "types", multiple=True, metavar="TYPE", help="Only units of this type, such as service.")
@shared_options
def list_units(
    settings: Settings, patterns: tuple[str, ...], failed: bool, state: tuple[str, ...], types: tuple[str, ...]
) -> int:
    """List units that systemd has in memory."""

    async def list_them(guest: Guest) -> None:
        states: Any = [*state, *(["failed"] if failed else [])]
        chosen: Any = [*types]
        found = await guest.units.list(patterns=[*patterns], types=chosen, states=states)
        if settings.json:
            for each in found:
                say(to_json(each))
        else:
            rows = [(each.name, each.load, each.active, each.sub, each.description) for each in found]
            show_table(HEADINGS, rows)

    return with_guest(settings, list_them)


@command.command("status")
@click.argument("unit")
@shared_options
def status(settings: Settings, unit: str) -> int:
    """Show one unit; the exit code is 3 if it is not active."""

    async def show(guest: Guest) -> int:
        found = await guest.units.status(unit)
        show_status(settings, found)
        return EXIT_OK if found.active in ("active", "reloading") else NOT_ACTIVE

    return with_guest(settings, show)


def show_status(settings: Settings, status: UnitStatus) -> None:
    """A status as rows, or as JSON."""
    if settings.json:
        say(to_json(status))
        return
    for name, value in status_rows(status):
        say(f"{name + ':':13} {one_line(value)}")


def status_rows(status: UnitStatus) -> list[tuple[str, str]]:
    """What there is to tell of a unit."""
    since = "" if status.since is None else f" since {status.since.astimezone():%F %T %z}"
    found: list[tuple[str, object]] = [
        ("unit", f"{status.name} - {status.description}"),
        ("loaded", f"{status.load}{f' ({status.path})' if status.path else ''}"),
        ("unit file", f"{status.unit_file}{' (changed: needs daemon-reload)' if status.needs_reload else ''}"),
        ("active", f"{status.active} ({status.sub}){since}"),
        ("job", status.job),
        ("result", "" if status.result == "success" else status.result),
        ("main pid", status.main_pid),
        ("exit status", status.exit_status),
        ("status", status.status_text),
        ("restarts", status.restarts or None),
        ("tasks", status.tasks),
        ("memory", None if status.memory is None else f"{status.memory / 2**20:.1f} MiB"),
        ("cpu", None if status.cpu is None else f"{status.cpu:.3f} s"),
    ]
    return [(name, str(value)) for name, value in found if value not in (None, "")]


def job_command(verb: str, does: str, *flags: tuple[str, str]) -> None:
    """A command that has systemd do a job.

    Args:
        verb: the method's name, and the command's.
        does: its help.
        flags: switches of the method, as (name, help).
    """

    @shared_options
    def run(settings: Settings, units: tuple[str, ...], **switches: bool) -> int:
        async def work(guest: Guest) -> None:
            for unit in units:
                found = await getattr(guest.units, verb)(unit, **switches)
                if settings.json:
                    say(to_json(found))

        return with_guest(settings, work)

    register(verb, does, run, flags)


def file_command(verb: str, does: str, *flags: tuple[str, str]) -> None:
    """A command that changes unit files; arguments as for :func:`job_command`."""

    @shared_options
    def run(settings: Settings, units: tuple[str, ...], **switches: bool) -> int:
        async def work(guest: Guest) -> None:
            changes: list[UnitFileChange] = await getattr(guest.units, verb)([*units], **switches)
            for each in changes:
                if settings.json:
                    say(to_json(each))
                else:
                    arrow = f" -> {each.target}" if each.target else ""
                    say(one_line(f"{'created' if each.kind == 'symlink' else 'removed'} {each.path}{arrow}"))

        return with_guest(settings, work)

    register(verb, does, run, flags)


def register(verb: str, does: str, run: Callable[..., None], flags: tuple[tuple[str, str], ...]) -> None:
    """Add a command that takes units, and these switches."""
    for name, text in flags:
        run = click.option(f"--{name.replace('_', '-')}", name, is_flag=True, help=text)(run)
    run = click.argument("units", metavar="UNIT...", nargs=-1, required=True)(run)
    command.command(verb, help=does)(run)


RUNTIME = ("runtime", "Until the next boot only.")

job_command("start", "Start units, and wait until they are up.")
job_command("stop", "Stop units, and wait until they are down.")
job_command("restart", "Restart units.", ("only_running", "Leave those that do not run as they are."))
job_command("reload", "Have units read their configuration again.", ("or_restart", "Restart those that cannot reload."))
file_command("enable", "Have units started at boot.", RUNTIME, ("force", "Replace links that conflict."))
file_command("disable", "Have units started at boot no longer.", RUNTIME)
file_command("mask", "Have units never started, by hand neither.", RUNTIME)
file_command("unmask", "Undo mask.", RUNTIME)


@command.command("reset-failed")
@click.argument("unit", required=False)
@shared_options
def reset_failed(settings: Settings, unit: str | None) -> int:
    """Forget that a unit failed, or that any did."""

    async def work(guest: Guest) -> None:
        await guest.units.reset_failed(unit)

    return with_guest(settings, work)


@command.command("daemon-reload")
@shared_options
def daemon_reload(settings: Settings) -> int:
    """Have systemd read all unit files again."""

    async def work(guest: Guest) -> None:
        await guest.units.daemon_reload()

    return with_guest(settings, work)


@command.command("wait")
@click.argument("unit")
@click.option("--state", type=click.Choice(STATES), default="active", show_default=True, help="Which one.")
@shared_options
def wait(settings: Settings, unit: str, state: Any) -> int:
    """Wait until a unit is in a state.

    --timeout says for how long [60]. A unit that fails while "active" is waited for ends the wait.
    """

    async def work(guest: Guest) -> None:
        found = await guest.units.wait_for(unit, state=state)
        if settings.json:
            say(to_json(found))

    return with_guest(settings, work)


@command.command("logs")
@click.argument("unit")
@click.option("-f", "--follow", is_flag=True, help="Go on with new records, also after the guest was away.")
@click.option("-n", "--lines", type=click.IntRange(0), default=10, show_default=True, help="The last so many.")
@shared_options
def logs(settings: Settings, unit: str, follow: bool, lines: int) -> int:
    """Print the end of a unit's log.

    virtagent journal -u UNIT has more options.
    """
    from virtagent.cli.journal import show  # noqa: PLC0415 - other verbs need none of it
    from virtagent.guest.units import full_name  # noqa: PLC0415

    conditions = {"units": [full_name(unit)], "follow": follow}
    return with_guest(settings, lambda guest: show(settings, guest, conditions, lines, None))
