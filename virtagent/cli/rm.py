"""``virtagent rm``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import to_json

if TYPE_CHECKING:
    from virtagent.host.guest import Guest

__all__ = ["command"]


@click.command(
    short_help="Remove files of the guest; links are never followed.",
    epilog="""\b
Examples:
  virtagent --to web1 rm /tmp/core.1234
  virtagent --to web1 rm -r /srv/old
  virtagent --to web1 rm -rf /var/tmp/build""",
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-r", "-R", "--recursive", is_flag=True, help="Directories with all that is in them.")
@click.option("-f", "--force", is_flag=True, help="What is not there is no error.")
@shared_options
def command(settings: Settings, paths: tuple[str, ...], recursive: bool, force: bool) -> int:
    """Remove files of the guest; links are never followed, and nothing that is mounted is entered."""

    async def remove(guest: Guest) -> None:
        for path in paths:
            done = await guest.files.bulk().remove(path, recursive=recursive, missing_ok=force)
            if settings.json:
                say(to_json({"path": path, "files": done.files}))

    return with_guest(settings, remove)
