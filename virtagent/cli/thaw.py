"""``virtagent thaw``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtagent.cli.failures import EXIT_FAILED, EXIT_OK
from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json

if TYPE_CHECKING:
    from virtagent.host.guest import Guest

__all__ = ["command"]


@click.command(
    short_help="Thaw the guest's filesystems.",
    epilog="""\b
Examples:
  virtagent --to web1 thaw                    ends whatever the agent holds frozen
  virtagent --to web1 thaw --list             only what that is
  virtagent --to web1 thaw --force            also what others froze and left so""",
)
@click.argument("mountpoints", metavar="[MOUNTPOINT]...", nargs=-1)
@click.option("--lease", metavar="NAME", help="Only this freeze, as --list and freeze --json name it.")
@click.option("--force", is_flag=True, help="Also what another program froze (fsfreeze, qemu-ga).")
@click.option("--list", "only_list", is_flag=True, help="Only tell what the agent holds frozen.")
@shared_options
def command(settings: Settings, mountpoints: tuple[str, ...], lease: str | None, force: bool, only_list: bool) -> int:
    """Thaw the guest's filesystems, and run its hooks; who froze them is told that it did not last."""

    async def thaw(guest: Guest) -> int:
        if only_list:
            for each in await guest.storage.freezes():
                paths = ", ".join(one.mountpoint for one in each.filesystems if one.status == "frozen")
                told = f"{each.lease}: {paths}; {each.remaining:.0f} s left; {each.who}"
                say(to_json(each) if settings.json else one_line(told))
            return EXIT_OK
        done = await guest.storage.thaw(lease=lease, mountpoints=[*mountpoints] or None, force=force)
        if settings.json:
            say(to_json(done))
        elif not done.filesystems:
            say("nothing was frozen")
        else:
            for filesystem in done.filesystems:
                say(one_line(f"{filesystem.mountpoint}: {filesystem.error or 'thawed'}"))
        return EXIT_FAILED if any(each.error for each in done.filesystems) else EXIT_OK

    return with_guest(settings, thaw)
