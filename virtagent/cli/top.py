"""``virtagent top``."""

from __future__ import annotations

import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from virtagent.api.stats import SHORTEST_INTERVAL
from virtagent.cli.main import shared_options
from virtagent.cli.output import Output, say
from virtagent.cli.session import with_guest
from virtagent.cli.stats import changes_only
from virtagent.cli.target import Settings, find_target
from virtagent.cli.text import to_json

if TYPE_CHECKING:
    from virtagent.host.guest import Guest

__all__ = ["command"]

GROUPS: list[Any] = ["cpu", "memory", "swap", "pressure", "load", "processes"]

MOST = 200
"""Processes that are asked for: as many as the highest terminal shows."""


@click.command(
    epilog="""\b
Examples:
  virtagent --to web1 top
  virtagent --to web1 top -i 0.5 --by memory
  virtagent --to web1 top --once
  virtagent --to web1 top --json | jq '.processes | length'

\b
Keys: q ends, c sorts by processor time, m by memory, space stops and goes on."""
)
@click.option(
    "-i",
    "--interval",
    type=click.FloatRange(SHORTEST_INTERVAL, 86400),
    default=2.0,
    metavar="SECONDS",
    help="Between two looks. [2]",
)
@click.option("--by", type=click.Choice(["cpu", "memory"]), default="cpu", help="What processes are sorted by. [cpu]")
@click.option("-n", "--top", type=click.IntRange(1, 1000), metavar="N", help="How many processes. [what fits, or 20]")
@click.option("--once", is_flag=True, help="Print one look, and end; so it is where the output is no terminal.")
@shared_options
def command(settings: Settings, interval: float, by: Any, top: int | None, once: bool) -> int:
    """Watch the guest's processes and its load."""

    async def one_look(guest: Guest) -> None:
        from virtagent.cli.stats_text import show_sample  # noqa: PLC0415 - not for --json

        sample = await guest.stats.sample(groups=GROUPS, over=min(interval, 60.0), top=top or 20, by=by)
        if settings.json:
            say(to_json(sample))
        else:
            show_sample(sample)

    async def lines(guest: Guest) -> None:
        output = Output()
        samples = guest.stats.follow(
            interval=interval, groups=GROUPS, top=top or 20, by=by, changes_only=changes_only(settings, None)
        )
        async with aclosing(samples) as stream:  # type: ignore[type-var]
            async for sample in stream:
                await output.line(to_json(sample))

    async def live(guest: Guest) -> None:
        from virtagent.cli.top_screen import TopScreen, watch_live  # noqa: PLC0415 - loads rich

        def follow(order: Any, rows: int) -> Any:
            return guest.stats.follow(
                interval=interval,
                groups=GROUPS,
                top=top or min(rows, MOST),
                by=order,
                changes_only=changes_only(settings, None),
            )

        await watch_live(TopScreen(find_target(settings).name, by), follow)

    if once:
        return with_guest(settings, one_look)
    if settings.json:
        return with_guest(settings, lines)
    return with_guest(settings, live if sys.stdout.isatty() else one_look)
