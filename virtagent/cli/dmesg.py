"""``virtagent dmesg``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from virtagent.cli.durations import parse_moment
from virtagent.cli.main import shared_options
from virtagent.cli.output import Output, coloured
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import harmless, to_json
from virtagent.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from virtagent.api.log import KernelRecord
    from virtagent.host.guest import Guest

__all__ = ["command"]

LEVELS = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")

_SUBSYSTEM = re.compile(r"[^\s:]{1,40}(?: [^\s:]{1,40}){0,2}:(?= )")
GREEN, YELLOW, RED, BOLD, PLAIN = "\033[32m", "\033[33m", "\033[31m", "\033[1m", "\033[0m"


def parse_level(text: str | None) -> int | None:
    """A level's number from its name or number.

    Raises:
        UsageError: there is no such level.
    """
    if text is None:
        return None
    if text in LEVELS:
        return LEVELS.index(text)
    if text in map(str, range(8)):
        return int(text)
    raise UsageError(f"{text!r} is no level; write one of {', '.join(LEVELS)}, or 0 to 7")


def as_text(record: KernelRecord, *, colours: bool) -> str:
    """A record as ``dmesg -T`` shows it, in this machine's time zone; further lines are indented."""
    when = f"{record.time.astimezone():%a %b %e %T %Y}" if record.time is not None else f"{record.timestamp:12.6f}"
    message = harmless(record.message).replace("\n", "\n" + " " * (len(when) + 3))
    if colours:
        subsystem = _SUBSYSTEM.match(message)
        at = subsystem.end() if subsystem is not None else 0
        head, rest = (f"{YELLOW}{message[:at]}{PLAIN}" if at else ""), message[at:]
        tone = RED if record.level <= 3 else BOLD if record.level == 4 else ""
        line = f"{GREEN}[{when}]{PLAIN} {head}{tone}{rest}{PLAIN if tone else ''}"
    else:
        line = f"[{when}] {message}"
    return f"-- {record.lost} records were lost here --\n{line}" if record.lost else line


async def since_boot(guest: Guest, moment: datetime) -> float:
    """A moment as the kernel's log counts it: by the guest's clock and uptime."""
    info = await guest.system.info()
    return max(0.0, info.uptime - (info.time - moment).total_seconds())


@click.command(
    epilog="""\b
Examples:
  virtagent --to web1 dmesg -l warn
  virtagent --to web1 dmesg -f --since 10m
  virtagent --to web1 dmesg --json | jq .message"""
)
@click.option("-f", "--follow", is_flag=True, help="Go on with new records as they come.")
@click.option("-l", "--level", metavar="LEVEL", help=f"Only this level and graver ones: {', '.join(LEVELS)}.")
@click.option("--since", metavar="TIME", help="Since '2026-01-31 12:00', 12:00, today, or 2h ago.")
@shared_options
def command(settings: Settings, follow: bool, level: str | None, since: str | None) -> int:
    """Print the guest's kernel log."""
    number, colours = parse_level(level), coloured()
    moment = None if since is None else parse_moment(since)

    async def view(guest: Guest) -> None:
        from virtagent.service.streams import TypedStream  # noqa: PLC0415 - loads asyncio, see run()

        output = Output()
        start = None if moment is None else await since_boot(guest, moment)
        async with TypedStream.of(guest.log.kernel(follow=follow, level=number, since=start)) as records:
            async for record in records:
                await output.line(to_json(record) if settings.json else as_text(record, colours=colours))

    return with_guest(settings, view)
