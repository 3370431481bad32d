"""What ``virtagent shutdown`` and ``virtagent reboot`` have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from virtagent.cli.durations import seconds
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json
from virtagent.errors import UsageError

if TYPE_CHECKING:
    from virtagent.api.power import Planned
    from virtagent.host.guest import Guest
    from virtagent.host.power import Completion

__all__ = ["end_guest", "ending_options"]

WAIT = {"shutdown": 120.0, "reboot": 300.0}
"""Seconds that --wait gives the guest, beyond the delay."""


def ending_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of both."""
    for option in (
        click.option("--cancel", is_flag=True, help="Call off what is planned, whoever planned it."),
        click.option("--pending", is_flag=True, help="Only tell what is planned."),
        click.option("--force", is_flag=True, help="Stop nothing in order: sync, and go at once (reboot(2))."),
        click.option("--wait", is_flag=True, help="Return when it is done. [--timeout: how long, beyond the delay]"),
        click.option("--reason", default="", metavar="TEXT", help="Why: for the guest's log, and for all its hosts."),
        click.option("-m", "--message", default="", metavar="TEXT", help="Tell users who are logged in."),
        click.option("--delay", default="0", metavar="TIME", help="Not at once, but after 90s, 10m, 1h30m, ... [0]"),
    ):
        function = option(function)
    return function


def end_guest(
    settings: Settings,
    action: str,
    *,
    delay: str,
    message: str,
    reason: str,
    wait: bool,
    force: bool,
    pending: bool,
    cancel: bool,
) -> int:
    """Shut down, halt or reboot; or call it off; or tell what is planned."""
    after = seconds(delay)
    if cancel and (wait or force or pending or after):
        raise UsageError("--cancel goes alone")
    if wait and action == "halt":
        raise UsageError("a halted machine stays switched on and keeps its channel: --wait cannot tell; drop one")
    limit = settings.timeout or WAIT.get(action, 0.0)

    async def end(guest: Guest) -> None:
        power = guest.power
        if cancel or pending:
            found = await (power.cancel() if cancel else power.pending())
            say(to_json(found) if settings.json else _planned(found, "called off: " if cancel else "planned: "))
            return
        if not wait:
            method = {"shutdown": power.shutdown, "halt": power.halt, "reboot": power.reboot}[action]
            planned = await method(delay=after, message=message, reason=reason, force=force)
            say(to_json(planned) if settings.json else _planned(planned, ""))
            return
        waiting = power.shutdown_and_wait if action == "shutdown" else power.reboot_and_wait
        done = await waiting(delay=after, message=message, reason=reason, force=force, timeout=limit)
        say(to_json(done) if settings.json else _completed(done))

    return with_guest(settings, end)


def _planned(planned: Planned | None, prefix: str) -> str:
    if planned is None:
        return "nothing is planned"
    when = "now" if planned.at is None else f"at {planned.at.astimezone():%F %T}"
    why = planned.reason or planned.message
    told = f"{prefix}{planned.action} {when}, by {planned.by}{f': {why}' if why else ''}"
    return one_line(told)


def _completed(done: Completion) -> str:
    how = {
        "closed": "the guest has gone: its channel has closed",
        "rebooted": f"the guest is up again, in the boot {done.boot_id}",
        "goodbye": "the guest has said goodbye",
    }[done.how]
    return one_line(f"{how} ({done.seconds:.1f} s{f', reason {done.reason}' if done.reason else ''})")
