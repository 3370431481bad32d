"""``virtagent suspend``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json
from virtagent.errors import UsageError

if TYPE_CHECKING:
    from virtagent.host.guest import Guest

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  virtagent --to web1 suspend                 to memory; wake it: virsh dompmwakeup web1, or QMP's system_wakeup
  virtagent --to web1 suspend --hibernate     to disk
  virtagent --to web1 suspend --check         only what works"""
)
@click.option("--hibernate", is_flag=True, help="To disk, and switch off.")
@click.option("--hybrid", is_flag=True, help="To memory, and to disk should the power fail.")
@click.option("--check", is_flag=True, help="Only tell what works in this guest, and why the rest does not.")
@shared_options
def command(settings: Settings, hibernate: bool, hybrid: bool, check: bool) -> int:
    """Put the guest to sleep."""
    if hibernate and hybrid:
        raise UsageError("--hibernate and --hybrid exclude each other; drop one")

    async def sleep(guest: Guest) -> None:
        power = guest.power
        if check:
            found = await power.abilities()
            if settings.json:
                say(to_json(found))
                return
            for name in ("suspend", "hibernate", "hybrid_sleep"):
                works = "yes" if getattr(found, name) else f"no: {found.reasons.get(name, '')}"
                say(one_line(f"{name.replace('_', ' ')}: {works}"))
            return
        done = await (power.hibernate() if hibernate else power.hybrid_sleep() if hybrid else power.suspend())
        say(to_json(done) if settings.json else one_line(f"the guest goes to sleep: {done.action}, by {done.by}"))

    return with_guest(settings, sleep)
