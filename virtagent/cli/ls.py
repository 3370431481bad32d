"""``virtagent ls``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from virtagent.cli.file_format import columns, long_lines, shown_name
from virtagent.cli.main import shared_options
from virtagent.cli.output import coloured, say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json

if TYPE_CHECKING:
    from virtagent.api.file_types import Entry
    from virtagent.host.guest import Guest

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  virtagent --to web1 ls -l /var/log
  virtagent --to web1 ls -aR /etc/ssh
  virtagent --to web1 ls --json /srv | jq -r 'select(.size > 1e9) | .path'"""
)
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("-l", "--long", "is_long", is_flag=True, help="With mode, owners, size and time.")
@click.option("-a", "--all", "everything", is_flag=True, help="With hidden names.")
@click.option("-R", "--recursive", is_flag=True, help="And all directories below.")
@click.option("-d", "--directory", "itself", is_flag=True, help="Directories themselves, not what is in them.")
@click.option("-b", "--bytes", "exact", is_flag=True, help="Sizes in bytes.")
@click.option("-t", "--by-time", is_flag=True, help="The newest first.")
@click.option("-S", "--by-size", is_flag=True, help="The largest first.")
@shared_options
def command(
    settings: Settings,
    paths: tuple[str, ...],
    is_long: bool,
    everything: bool,
    recursive: bool,
    itself: bool,
    exact: bool,
    by_time: bool,
    by_size: bool,
) -> int:
    """List files of the guest; its root directory if no path is given."""

    def order(entry: Entry) -> tuple[float, str]:
        return (-entry.mtime if by_time else -entry.size if by_size else 0, entry.path)

    def show(path: str, entries: list[Entry]) -> None:
        entries = sorted(entries, key=order)
        if settings.json:
            for each in entries:
                say(to_json({"directory": path, **_fields(each)}))
            return
        if is_long:
            lines = long_lines(entries, exact=exact, colours=coloured())
        elif sys.stdout.isatty():
            lines = columns(entries, colours=coloured())
        else:
            lines = [shown_name(each, colours=False) for each in entries]
        if lines:
            say("\n".join(lines))

    async def list_files(guest: Guest) -> None:
        for number, path in enumerate(paths or ("/",)):
            groups = await _listed(guest, path, recursive=recursive, itself=itself)
            for index, (where, entries) in enumerate(groups):
                if (len(groups) > 1 or len(paths) > 1) and where and not settings.json:
                    say(("\n" if number or index else "") + f"{one_line(where)}:")
                show(where, [each for each in entries if everything or not _hidden(each.path) or not where])

    return with_guest(settings, list_files)


def _hidden(path: str) -> bool:
    return path.rpartition("/")[2].startswith(".")


async def _listed(guest: Guest, path: str, *, recursive: bool, itself: bool) -> list[tuple[str, list[Entry]]]:
    """Directories with what is in them; "" stands for a file that was named itself."""
    from msgspec import structs  # noqa: PLC0415 - comes with the typed layer

    # A link that is named is followed if it leads to a directory, as ls does.
    if itself or (await guest.files.stat(path)).kind != "directory":
        return [("", [structs.replace(each, path=path) async for each in guest.files.tree(path, depth=0)])]
    if not recursive:
        return [(path, [each async for each in guest.files.list(path)])]
    base = path.rstrip("/")
    groups: dict[str, list[Entry]] = {".": []}
    async for each in guest.files.tree(f"{base}/."):
        if each.path == ".":
            continue
        where, _, name = each.path.rpartition("/")
        groups.setdefault(where or ".", []).append(structs.replace(each, path=name))
        if each.kind == "directory":
            groups.setdefault(each.path, [])
    return [(path if where == "." else f"{base}/{where}", entries) for where, entries in sorted(groups.items())]


def _fields(entry: Entry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in entry.__struct_fields__}
