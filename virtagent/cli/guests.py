"""``virtagent guests``."""

from __future__ import annotations

import click

from virtagent.cli.failures import EXIT_OK
from virtagent.cli.main import shared_options
from virtagent.cli.output import complain, say
from virtagent.cli.table import show_table
from virtagent.cli.target import Settings
from virtagent.cli.text import to_json
from virtagent.host.discovery import libvirt_guests, list_guests
from virtagent.host.registry import configuration_file

__all__ = ["command"]

HEADINGS = ("NAME", "URL", "FROM")


@click.command(
    epilog="""\b
Examples:
  virtagent guests
  virtagent guests --json | jq -r .name""",
)
@shared_options
def command(settings: Settings) -> int:
    """List the guests that have a name.

    They come from guests.toml in the user's configuration, and from libvirt's running domains.
    """
    rows = [(each.name, each.url, each.source) for each in list_guests()]
    if settings.json:
        for name, url, source in rows:
            say(to_json({"name": name, "url": url, "from": source}))
    elif not rows:
        closed = libvirt_guests()[1]
        hint = f" ({closed[0]} cannot be looked into; run as root)" if closed else ""
        complain(f"no guests are known; add one to {configuration_file()}{hint}")
    else:
        show_table(HEADINGS, rows)
    return EXIT_OK
