"""``virtagent info``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json

if TYPE_CHECKING:
    from virtagent.api.system import SystemInfo
    from virtagent.host.guest import Guest

__all__ = ["command"]


def duration(seconds: float) -> str:
    """``3 days, 4:05:06``."""
    days, rest = divmod(int(seconds), 86400)
    clock = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} day{'s' * (days != 1)}, {clock}" if days else clock


def rows(info: SystemInfo) -> list[tuple[str, str]]:
    """What there is to tell; what the guest cannot tell is left out."""
    found = [
        ("hostname", info.hostname),
        ("os", info.os.pretty_name),
        ("kernel", f"{info.kernel.name} {info.kernel.release} {info.kernel.machine}"),
        ("virtualization", info.virtualization),
        ("cpus", "" if info.cpus is None else str(info.cpus)),
        ("memory", "" if info.memory is None else f"{info.memory / 2**20:.0f} MiB"),
        ("uptime", duration(info.uptime)),
        ("booted", "" if info.booted is None else f"{info.booted.astimezone():%F %T %z}"),
        ("time", f"{info.time.astimezone():%F %T %z}"),
        ("machine id", info.machine_id),
        ("boot id", info.boot_id),
        ("agent", f"virtagent {info.agent}, python {info.python}"),
    ]
    return [(name, one_line(value)) for name, value in found if value]


@click.command()
@shared_options
def command(settings: Settings) -> int:
    """Print what the guest is, and since when it runs."""

    async def info(guest: Guest) -> None:
        found = await guest.system.info()
        say(to_json(found) if settings.json else "\n".join(f"{name + ':':15} {value}" for name, value in rows(found)))

    return with_guest(settings, info)
