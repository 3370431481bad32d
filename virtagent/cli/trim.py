"""``virtagent trim``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtagent.cli.arguments import size
from virtagent.cli.failures import EXIT_FAILED, EXIT_OK
from virtagent.cli.main import shared_options
from virtagent.cli.output import Output
from virtagent.cli.session import with_guest
from virtagent.cli.sizes import human_size
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json

if TYPE_CHECKING:
    from virtagent.host.guest import Guest

__all__ = ["command"]


@click.command(
    short_help="Give unused blocks back to the host (fstrim).",
    epilog="""\b
Examples:
  virtagent --to web1 trim                    all that can be
  virtagent --to web1 trim / --minimum 1M""",
)
@click.argument("mountpoints", metavar="[MOUNTPOINT]...", nargs=-1)
@click.option("--minimum", default="0", metavar="BYTES", help="Leave shorter ranges alone, such as 64K. [0]")
@shared_options
def command(settings: Settings, mountpoints: tuple[str, ...], minimum: str) -> int:
    """Give unused blocks of the guest's filesystems back to the host (fstrim). Ctrl-C ends it after the present one."""
    least = size(minimum)

    async def trim(guest: Guest) -> int:
        from virtagent.service.streams import TypedStream  # noqa: PLC0415 - loads asyncio, see run()

        output, failed = Output(), False
        trimmed = await guest.storage.trim([*mountpoints] or None, minimum=least)
        async with TypedStream.of(trimmed) as results:
            async for each in results:
                failed = failed or bool(each.error)
                told = each.error or f"{human_size(each.trimmed)} trimmed on {each.source}"
                await output.line(to_json(each) if settings.json else one_line(f"{each.mountpoint}: {told}"))
        return EXIT_FAILED if failed and mountpoints else EXIT_OK

    return with_guest(settings, trim)
