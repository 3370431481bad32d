"""``virtagent info``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json
from virtagent.errors import CallError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtagent.api.system import SystemInfo, Timezone, UserSession
    from virtagent.host.guest import Guest

__all__ = ["command"]


def duration(seconds: float) -> str:
    """``3 days, 4:05:06``."""
    days, rest = divmod(int(seconds), 86400)
    clock = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} day{'s' * (days != 1)}, {clock}" if days else clock


def zone(found: Timezone) -> str:
    """ "Europe/Berlin (CET, +1 h)"."""
    offset = f"{found.offset / 3600:+g} h"
    return f"{found.name or found.abbreviation} ({f'{found.abbreviation}, ' if found.name else ''}{offset})"


def from_where(session: UserSession) -> str:
    """ " (pts/0 from 192.0.2.7)"."""
    told = " from ".join(each for each in (session.terminal, session.host) if each)
    return f" ({told})" if told else ""


async def who(guest: Guest) -> list[UserSession]:
    """Who is logged in; nobody where the guest cannot tell."""
    try:
        return await guest.system.users()
    except CallError:
        return []


def rows(info: SystemInfo, users: Sequence[UserSession]) -> list[tuple[str, str]]:
    """What there is to tell; what the guest cannot tell is left out."""
    found = [
        ("hostname", info.hostname),
        ("os", info.os.pretty_name),
        ("variant", info.os.variant),
        ("kernel", f"{info.kernel.name} {info.kernel.release} {info.kernel.machine}"),
        ("virtualization", info.virtualization),
        ("cpus", "" if info.cpus is None else str(info.cpus)),
        ("memory", "" if info.memory is None else f"{info.memory / 2**20:.0f} MiB"),
        ("load", "" if info.load is None else " ".join(f"{each:.2f}" for each in info.load)),
        ("users", ", ".join(f"{each.user}{from_where(each)}" for each in users)),
        ("uptime", duration(info.uptime)),
        ("booted", "" if info.booted is None else f"{info.booted.astimezone():%F %T %z}"),
        ("time", f"{info.time.astimezone():%F %T %z}"),
        ("time zone", "" if info.timezone is None else zone(info.timezone)),
        ("machine id", info.machine_id),
        ("boot id", info.boot_id),
        ("agent", f"virtagent {info.agent}, python {info.python}"),
        ("features", ", ".join(info.features)),
    ]
    return [(name, one_line(value)) for name, value in found if value]


@click.command(
    epilog="""\b
Examples:
  virtagent --to web1 info
  virtagent --to web1 info --json | jq .""",
)
@shared_options
def command(settings: Settings) -> int:
    """Print what the guest is, and since when it runs."""

    async def info(guest: Guest) -> None:
        found, users = await guest.system.info(), await who(guest)
        if settings.json:
            say(to_json({**{name: getattr(found, name) for name in found.__struct_fields__}, "users": users}))
        else:
            say("\n".join(f"{name + ':':15} {value}" for name, value in rows(found, users)))

    return with_guest(settings, info)
