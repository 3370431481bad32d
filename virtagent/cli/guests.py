"""``virtagent guests``."""

from __future__ import annotations

import click

from virtagent.cli.failures import EXIT_OK
from virtagent.cli.main import shared_options
from virtagent.cli.output import coloured, complain, say
from virtagent.cli.target import Settings
from virtagent.cli.text import to_json
from virtagent.host.discovery import libvirt_guests, list_guests
from virtagent.host.registry import configuration_file

__all__ = ["command"]

HEADINGS = ("NAME", "URL", "FROM")


@click.command()
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
    elif coloured():
        show_table(rows)
    else:
        widths = [max(len(row[at]) for row in (HEADINGS, *rows)) for at in range(2)]
        for row in (HEADINGS, *rows):
            say(f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}")
    return EXIT_OK


def show_table(rows: list[tuple[str, str, str]]) -> None:
    """For people."""
    from rich.console import Console  # noqa: PLC0415 - slow to load
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*HEADINGS, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
