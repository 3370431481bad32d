"""``virtagent du``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtagent.cli.file_format import human
from virtagent.cli.main import shared_options
from virtagent.cli.output import Output
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json

if TYPE_CHECKING:
    from virtagent.host.guest import Guest

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  virtagent --to web1 du /var
  virtagent --to web1 du -d 1 / | sort -h
  virtagent --to web1 du --json -d 2 /srv | jq -s 'sort_by(.allocated) | last'"""
)
@click.argument("path")
@click.option("-d", "--max-depth", type=click.IntRange(0, 4096), default=0, metavar="N", help="Directories below. [0]")
@click.option("-b", "--bytes", "exact", is_flag=True, help="The sum of the sizes in bytes, not what is on the disk.")
@click.option("--all-filesystems", is_flag=True, help="Enter what is mounted below.")
@shared_options
def command(settings: Settings, path: str, max_depth: int, exact: bool, all_filesystems: bool) -> int:
    """Print what a directory of the guest takes on the disk."""

    async def show(guest: Guest) -> None:
        from virtagent.service.streams import TypedStream  # noqa: PLC0415 - loads asyncio, see run()

        output = Output()
        sums = guest.files.disk_use(path, depth=max_depth, one_filesystem=not all_filesystems)
        async with TypedStream.of(sums) as found:
            async for each in found:
                where = path if each.path == "." else f"{path.rstrip('/')}/{each.path}"
                if settings.json:
                    fields = {name: getattr(each, name) for name in each.__struct_fields__}
                    await output.line(to_json({**fields, "path": where}))
                else:
                    size = str(each.size) if exact else human(each.allocated)
                    note = f"  ({each.errors} could not be read)" if each.errors else ""
                    await output.line(f"{size}\t{one_line(where)}{note}")

    return with_guest(settings, show)
