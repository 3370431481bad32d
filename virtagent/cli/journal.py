"""``virtagent journal``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from virtagent.cli.dmesg import BOLD, LEVELS, PLAIN, RED, parse_level
from virtagent.cli.durations import parse_moment
from virtagent.cli.main import shared_options
from virtagent.cli.output import Output, coloured
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import harmless, one_line, to_json
from virtagent.errors import SessionLost, StreamReset, Unavailable, UsageError

if TYPE_CHECKING:
    from virtagent.api.log import JournalRecord
    from virtagent.host.guest import Guest

__all__ = ["command"]

BEFORE = 10
"""Records that --follow shows before new ones, as journalctl does."""


def as_text(record: JournalRecord, *, colours: bool) -> str:
    """A record as ``journalctl`` shows it, in this machine's time zone; further lines are indented."""
    when = "" if record.time is None else f"{record.time.astimezone():%b %d %T} "
    writer = one_line(record.identifier or record.command or record.unit or "unknown")
    pid = "" if record.pid is None else f"[{record.pid}]"
    head = f"{when}{one_line(record.hostname)} {writer}{pid}: "
    message = harmless(record.message).replace("\n", "\n" + " " * len(head))
    tone = (
        "" if not colours or record.level is None else RED if record.level <= 3 else BOLD if record.level <= 5 else ""
    )
    return f"{head}{tone}{message}{PLAIN if tone else ''}"


def parse_boot(text: str | None) -> int | str | None:
    """0, -1, ... or a boot's id.

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return None
    word = text.replace("-", "").lower()
    if len(word) == 32 and all(each in "0123456789abcdef" for each in word):
        return word
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{text!r} is no boot; write 0 for this one, -1 for the one before, or its id") from None


@click.command(
    epilog="""\b
Examples:
  virtagent --to web1 journal -u nginx -u php-fpm --since 2h -p warn
  virtagent --to web1 journal -f -n 50
  virtagent --to web1 journal -b -1 -r -n 20                      how the boot before this one ended
  virtagent --to web1 journal --json --after "$CURSOR" | jq .message"""
)
@click.option("-u", "--unit", "units", multiple=True, metavar="UNIT", help="Only of this unit; may be repeated.")
@click.option("--user-unit", "user_units", multiple=True, metavar="UNIT", help="Only of this unit of a user.")
@click.option("-t", "--identifier", "identifiers", multiple=True, metavar="NAME", help="Only from this program.")
@click.option("-k", "--kernel", is_flag=True, help="Only the kernel's.")
@click.option("-p", "--priority", metavar="LEVEL", help=f"Only this level and graver ones: {', '.join(LEVELS)}.")
@click.option("-g", "--grep", metavar="PATTERN", help="Only messages that match (PCRE2).")
@click.option("--since", "-S", metavar="TIME", help="Since '2026-01-31 12:00', 12:00, today, or 2h ago.")
@click.option("--until", "-U", metavar="TIME", help="Until then.")
@click.option("-b", "--boot", is_flag=False, flag_value="0", metavar="[N|ID]", help="Only of this boot; -1: the last.")
@click.option("-n", "--lines", type=click.IntRange(0), metavar="N", help="Only the last so many. [all; with -f 10]")
@click.option("-f", "--follow", is_flag=True, help="Go on with new ones, also after the guest was away.")
@click.option("-r", "--reverse", is_flag=True, help="Newest first.")
@click.option("--after", metavar="CURSOR", help="Only those after this one, as --json names it.")
@shared_options
def command(
    settings: Settings,
    units: tuple[str, ...],
    user_units: tuple[str, ...],
    identifiers: tuple[str, ...],
    kernel: bool,
    priority: str | None,
    grep: str | None,
    since: str | None,
    until: str | None,
    boot: str | None,
    lines: int | None,
    follow: bool,
    reverse: bool,
    after: str | None,
) -> int:
    """Print the guest's systemd journal, as journalctl does. Options that are given together must all hold."""
    if follow and (until is not None or reverse):
        raise UsageError("--follow goes on with new records: drop --until and --reverse, or --follow")
    conditions: dict[str, Any] = {
        "units": [_unit(each) for each in units] or None,
        "user_units": [_unit(each) for each in user_units] or None,
        "identifiers": [*identifiers] or None,
        "kernel": kernel,
        "level": parse_level(priority),
        "grep": grep,
        "since": None if since is None else parse_moment(since),
        "until": None if until is None else parse_moment(until),
        "boot": parse_boot(boot),
        "reverse": reverse,
        "follow": follow,
    }
    shown = BEFORE if follow and lines is None and since is None and after is None else lines
    return with_guest(settings, lambda guest: show(settings, guest, conditions, shown, after))


def _unit(name: str) -> str:
    """A name without a suffix is that of a service, as for journalctl."""
    return name if "." in name or any(each in name for each in "*?[") else f"{name}.service"


async def show(
    settings: Settings, guest: Guest, conditions: dict[str, Any], lines: int | None, after: str | None
) -> None:
    """Print records; with --follow, go on where it was when the session was lost."""
    output, colours = Output(), coloured()
    while True:
        try:
            async for record in await guest.log.journal(**conditions, lines=lines, after=after):
                after = record.cursor
                await output.line(to_json(record) if settings.json else as_text(record, colours=colours))
            return
        except (SessionLost, StreamReset) as error:
            ended = isinstance(error, StreamReset) and error.code != Unavailable.code
            if not conditions["follow"] or after is None or ended:
                raise
            lines = None
            await guest.wait_ready()
