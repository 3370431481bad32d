"""``virtagent cat``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtagent.cli.arguments import size
from virtagent.cli.main import shared_options
from virtagent.cli.output import Output
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import to_json

if TYPE_CHECKING:
    from virtagent.host.guest import Guest

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  virtagent --to web1 cat /etc/os-release
  virtagent --to web1 cat /proc/meminfo /proc/loadavg
  virtagent --to web1 cat /dev/vda --length 512 | xxd"""
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--offset", default="0", metavar="BYTES", help="Where to begin, such as 4096 or 10M. [0]")
@click.option("--length", metavar="BYTES", help="How much at most. [all]")
@shared_options
def command(settings: Settings, paths: tuple[str, ...], offset: str, length: str | None) -> int:
    """Print files of the guest, byte by byte as they are."""
    start, count = size(offset), None if length is None else size(length)

    async def view(guest: Guest) -> None:
        from virtagent.service.streams import TypedStream  # noqa: PLC0415 - loads asyncio, see run()

        output = Output()
        for path in paths:
            async with TypedStream.of(guest.files.read(path, offset=start, length=count)) as chunks:
                async for chunk in chunks:
                    if settings.json:
                        await output.line(to_json({"path": path, "data": chunk}))
                    else:
                        await output.write(chunk)

    return with_guest(settings, view)
