"""``virtagent wait-ready``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json

if TYPE_CHECKING:
    from virtagent.host.guest import Guest

__all__ = ["command"]

TIMEOUT = 300.0
"""Seconds: a slow guest boots in less."""


@click.command(
    epilog="""\b
Examples:
  virtagent --to web1 wait-ready && virtagent --to web1 info
  virtagent --to unix:/run/vm/web1.sock wait-ready --timeout 30""",
)
@shared_options
def command(settings: Settings) -> int:
    """Wait until the guest's agent answers.

    A channel that is not there yet is waited for, too; in all at most 5 minutes, unless --timeout says otherwise.
    """

    async def ready(guest: Guest) -> None:
        pong = await guest.agent.ping()
        if settings.json:
            say(to_json(pong))
        else:
            who = guest.info.identity.name if guest.info is not None else "guest"
            say(one_line(f"{who} is ready: virtagent {pong.version}, up for {pong.agent_uptime:.1f} s"))

    return with_guest(settings, ready, wait=True, timeout=TIMEOUT)
