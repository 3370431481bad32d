"""``virtagent stat``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtagent.cli.file_format import permissions
from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json

if TYPE_CHECKING:
    from virtagent.api.file_types import FileStat
    from virtagent.host.guest import Guest

__all__ = ["command"]


def rows(path: str, found: FileStat) -> list[tuple[str, str]]:
    """What there is to tell."""
    name = one_line(path) + (f" -> {one_line(found.target)}" if found.target is not None else "")
    device = "" if found.device is None else f"{found.device >> 8:x}h"
    moments = [("modified", found.modified), ("changed", found.changed), ("accessed", found.accessed)]
    return [
        ("file", name),
        ("kind", found.kind),
        ("size", f"{found.size} bytes, {found.allocated or 0} on the disk"),
        ("mode", f"{found.mode:04o} {permissions(found.kind, found.mode)}"),
        ("owner", f"{one_line(found.user or '?')} ({found.uid}), {one_line(found.group or '?')} ({found.gid})"),
        ("inode", f"{found.inode} on device {device}, {found.links} links"),
        *((what, f"{when.astimezone():%F %T.%f %z}") for what, when in moments if when is not None),
    ]


@click.command(
    epilog="""\b
Examples:
  virtagent --to web1 stat /etc/passwd
  virtagent --to web1 stat -L /etc/resolv.conf
  virtagent --to web1 stat --json /srv/db | jq .size"""
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-L", "--dereference", is_flag=True, help="Of what links lead to.")
@shared_options
def command(settings: Settings, paths: tuple[str, ...], dereference: bool) -> int:
    """Print kind, size, mode, owners and times of the guest's files."""

    async def show(guest: Guest) -> None:
        for number, path in enumerate(paths):
            found = await guest.files.stat(path, follow=dereference)
            if settings.json:
                say(to_json({"path": path, **{name: getattr(found, name) for name in found.__struct_fields__}}))
            else:
                say(
                    ("\n" if number else "") + "\n".join(f"{what + ':':10}{value}" for what, value in rows(path, found))
                )

    return with_guest(settings, show)
