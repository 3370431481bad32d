"""``virtagent ps``."""

from __future__ import annotations

import fnmatch
import shlex
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.table import show_table
from virtagent.cli.target import Settings
from virtagent.cli.text import to_json

if TYPE_CHECKING:
    from virtagent.api.processes import ProcessInfo
    from virtagent.host.guest import Guest

__all__ = ["command"]

HEADINGS = ("USER", "PID", "PPID", "S", "CPU", "RSS", "START", "TTY", "COMMAND")

KEYS: dict[str, Callable[[ProcessInfo], Any]] = {
    "pid": lambda each: each.pid,
    "cpu": lambda each: -each.cpu_time,
    "rss": lambda each: -each.rss,
    "start": lambda each: -each.start_ticks,
    "user": lambda each: (each.user, each.pid),
    "name": lambda each: (each.name, each.pid),
}
"""What can be sorted by: the largest and the newest first."""

_LETTERS = {
    "running": "R",
    "sleeping": "S",
    "disk-sleep": "D",
    "stopped": "T",
    "traced": "t",
    "zombie": "Z",
    "idle": "I",
}


def cpu(seconds: float) -> str:
    """``1:02`` (minutes), ``3:04:05``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def start(moment: datetime, now: datetime) -> str:
    """The time for today's, else the date, in this machine's time zone."""
    local = moment.astimezone()
    return f"{local:%H:%M}" if local.date() == now.astimezone().date() else f"{local:%F}"


def shown(info: ProcessInfo) -> str:
    """The command line; the name in brackets where there is none, as ps(1) does."""
    return shlex.join(info.arguments) if info.arguments else f"[{info.name}]"


def row(info: ProcessInfo, now: datetime) -> tuple[object, ...]:
    """The cells of a process."""
    return (
        info.user,
        info.pid,
        info.ppid,
        _LETTERS.get(info.state, "?"),
        cpu(info.cpu_time),
        f"{info.rss / 2**20:.1f}M",
        start(info.started, now),
        info.terminal or "-",
        shown(info),
    )


@click.command(
    short_help="List the guest's processes.",
    epilog="""\b
Examples:
  virtagent --to web1 ps
  virtagent --to web1 ps --sort rss 'python*'
  virtagent --to web1 ps -u postgres --json | jq .pid""",
)
@click.argument("patterns", metavar="[NAME]...", nargs=-1)
@click.option("-u", "--user", metavar="USER", help="Only this user's.")
@click.option("--sort", type=click.Choice(sorted(KEYS)), default="pid", help="What comes first. [pid]")
@shared_options
def command(settings: Settings, patterns: tuple[str, ...], user: str | None, sort: str) -> int:
    """List the guest's processes; with names (* and ? match), only those programs."""

    def wanted(info: ProcessInfo) -> bool:
        named = not patterns or any(fnmatch.fnmatchcase(info.name, each) for each in patterns)
        return named and user in (None, info.user, str(info.uid))

    async def list_them(guest: Guest) -> None:
        found = sorted([each async for each in guest.processes.list() if wanted(each)], key=KEYS[sort])
        if settings.json:
            for each in found:
                say(to_json(each))
        else:
            now = datetime.now().astimezone()
            show_table(HEADINGS, [row(each, now) for each in found], right=("PID", "PPID", "CPU", "RSS"))

    return with_guest(settings, list_them)
