"""``virtagent sync``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from virtagent.cli.copy_progress import CopyProgress
from virtagent.cli.file_format import human
from virtagent.cli.main import shared_options
from virtagent.cli.output import complain, say
from virtagent.cli.places import copies, is_local_directory, parse_place, told_in_one_line
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import harmless, one_line, to_json
from virtagent.errors import UsageError

if TYPE_CHECKING:
    from virtagent.host.guest import Guest
    from virtagent.host.trees import Difference

__all__ = ["command"]


@click.command(
    short_help="Make a directory like another; only what differs is copied.",
    epilog="""\b
Examples:
  virtagent sync ./site web1:/srv/www
  virtagent sync --delete --dry-run ./site web1:/srv/www
  virtagent --to web1 sync --checksum :/etc ./etc-of-web1""",
)
@click.argument("source")
@click.argument("target")
@click.option("--delete", is_flag=True, help="Delete what is not in SOURCE.")
@click.option("-n", "--dry-run", is_flag=True, help="Only print what would be done.")
@click.option("-c", "--checksum", is_flag=True, help="Compare files of the same size by content, not by time.")
@click.option("--owners", is_flag=True, help="Copy with the owners' numbers.")
@click.option("-q", "--quiet", is_flag=True, help="Do not print what is copied and deleted.")
@shared_options
def command(
    settings: Settings,
    source: str,
    target: str,
    delete: bool,
    dry_run: bool,
    checksum: bool,
    owners: bool,
    quiet: bool,
) -> int:
    """Make directory TARGET like directory SOURCE, one of which is GUEST:/path; only what differs is copied.

    Files differ if their size, time or mode does. Prints "+" for what is copied and "-" for what is deleted.
    """
    ours, theirs = parse_place(source), parse_place(target)
    told, to_guest = copies(settings, [ours], theirs)
    local, path = (ours.path, theirs.path) if to_guest else (theirs.path, ours.path)
    if local == "-":
        raise UsageError("sync works with directories; cp - copies standard input")

    def show(plan: Difference) -> None:
        removed = plan.delete if delete else []
        if settings.json:
            lines = [to_json({"action": "delete", "path": each}) for each in removed]
            lines += [to_json({"action": "copy", "path": each}) for each in plan.copy]
        elif quiet:
            return
        else:
            lines = [f"- {harmless(each)}" for each in removed] + [f"+ {harmless(each)}" for each in plan.copy]
            lines.append(f"{len(plan.copy)} to copy ({human(plan.size)}), {len(removed)} to delete")
        if lines:
            say("\n".join(lines))

    async def sync(guest: Guest) -> int | None:
        from virtagent.host.sync import Sync  # noqa: PLC0415 - loads the typed layer

        work = Sync(guest.files, Path(local), path, to_guest=to_guest, checksum=checksum, ownership=owners)

        async def both() -> int:
            if to_guest and not is_local_directory(local):
                raise NotADirectoryError(20, "is no directory", local)
            if not to_guest and (await guest.files.stat(path)).kind != "directory":
                raise UsageError(f"{path} is no directory; cp copies files")
            plan = await work.plan()
            show(plan)
            if dry_run:
                return 0
            with CopyProgress() as progress:
                notes = await work.run(plan, delete=delete, progress=progress.of(path))
            for each in notes:
                complain(one_line(each))
            return 0

        return await told_in_one_line(both)

    return with_guest(told, sync)
