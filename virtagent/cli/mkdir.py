"""``virtagent mkdir``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import to_json
from virtagent.errors import UsageError

if TYPE_CHECKING:
    from virtagent.host.guest import Guest

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  virtagent --to web1 mkdir /srv/new
  virtagent --to web1 mkdir -p -m 750 /srv/a/b/c"""
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-p", "--parents", is_flag=True, help="Those above, too; what is there already is no error.")
@click.option("-m", "--mode", default="755", metavar="MODE", help="Permission bits in octal. [755]")
@shared_options
def command(settings: Settings, paths: tuple[str, ...], parents: bool, mode: str) -> int:
    """Make directories in the guest."""
    if not re.fullmatch("[0-7]{1,4}", mode):
        raise UsageError(f"{mode!r} is no mode; write it in octal, such as 750")

    async def make(guest: Guest) -> None:
        for path in paths:
            await guest.files.mkdir(path, mode=int(mode, 8), parents=parents, exist_ok=parents)
            if settings.json:
                say(to_json({"path": path}))

    return with_guest(settings, make)
