"""``virtagent find``."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import click

from virtagent.cli.arguments import size as parse_size
from virtagent.cli.file_format import long_lines
from virtagent.cli.main import shared_options
from virtagent.cli.output import Output, complain
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import harmless, one_line, to_json
from virtagent.errors import UsageError

if TYPE_CHECKING:
    from virtagent.host.guest import Guest

__all__ = ["command"]

TYPES = {
    "f": "file",
    "d": "directory",
    "l": "link",
    "b": "block",
    "c": "character",
    "p": "fifo",
    "s": "socket",
}
_AGE = re.compile(r"([+-])(\d+(?:\.\d+)?)([smhdw]?)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 86400, "w": 604800}


def size_filter(text: str | None) -> dict[str, int]:
    """``+10M``: at least, ``-10M``: at most, ``10M``: exactly."""
    if text is None:
        return {}
    number = parse_size(text.lstrip("+-"))
    if text.startswith("+"):
        return {"smallest": number}
    return {"largest": number} if text.startswith("-") else {"smallest": number, "largest": number}


def age_filter(text: str | None) -> dict[str, int]:
    """``-2h``: modified within the last two hours, ``+30d``: longer ago than 30 days; days if there is no unit.

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return {}
    match = _AGE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no age; write -2h (within two hours) or +30d (before 30 days); units: s m h d w")
    limit = int((time.time() - float(match[2]) * _SECONDS[match[3]]) * 1e9)
    return {"newer": limit} if match[1] == "-" else {"older": limit}


@click.command(
    short_help="Find files below a directory, by name, kind, size and age.",
    epilog="""\b
Examples:
  virtagent --to web1 find /var/log --name '*.log' --size +10M
  virtagent --to web1 find /etc --mtime -1d -l
  virtagent --to web1 find /tmp --type f --mtime +30d -0 | xargs -0 -n1 echo""",
)
@click.argument("path")
@click.option("--name", "names", multiple=True, metavar="PATTERN", help="Names that match; may be repeated.")
@click.option("--type", "types", metavar="LETTERS", help="Kinds: f file, d directory, l link, b c p s.")
@click.option("--size", "size_text", metavar="[+-]SIZE", help="+10M: at least, -10M: at most.")
@click.option("--mtime", "age_text", metavar="[+-]AGE", help="-2h: modified within two hours, +30d: before 30 days.")
@click.option("--maxdepth", type=click.IntRange(0, 4096), default=4096, metavar="N", help="Directories below PATH.")
@click.option("--xdev", is_flag=True, help="Do not enter what is mounted below.")
@click.option("--most", type=click.IntRange(1, 10_000_000), default=1_000_000, metavar="N", help="Stop after N files.")
@click.option("-0", "--print0", is_flag=True, help="End names with NUL, as they are, for xargs -0.")
@click.option("-l", "--long", "is_long", is_flag=True, help="As ls -l shows them.")
@shared_options
def command(
    settings: Settings,
    path: str,
    names: tuple[str, ...],
    types: str | None,
    size_text: str | None,
    age_text: str | None,
    maxdepth: int,
    xdev: bool,
    most: int,
    print0: bool,
    is_long: bool,
) -> int:
    """Find files below a directory of the guest; it is the guest that looks and filters."""
    filters: dict[str, Any] = {**size_filter(size_text), **age_filter(age_text)}
    if names:
        filters["names"] = list(names)
    if types:
        unknown = set(types.replace(",", "")) - TYPES.keys()
        if unknown:
            raise UsageError(f"{''.join(sorted(unknown))!r} is no kind of file; write some of {' '.join(TYPES)}")
        filters["kinds"] = [TYPES[each] for each in types.replace(",", "")]

    async def find(guest: Guest) -> int:
        from msgspec import structs  # noqa: PLC0415 - comes with the typed layer

        from virtagent.service.streams import TypedStream  # noqa: PLC0415 - loads asyncio, see run()

        output, failed = Output(), 0
        listing = guest.files.tree(path, depth=maxdepth, most=most, one_filesystem=xdev, **filters)
        async with TypedStream.of(listing) as entries:
            async for entry in entries:
                whole = path if entry.path == "." else f"{path.rstrip('/')}/{entry.path}"
                if entry.error:
                    failed = 1
                    complain(f"{one_line(whole)}: {one_line(entry.error)}")
                elif settings.json:
                    await output.line(to_json(structs.replace(entry, path=whole)))
                elif print0:
                    await output.write(whole.encode("utf-8", "surrogateescape") + b"\0")
                elif is_long:
                    await output.line(long_lines([structs.replace(entry, path=whole)], exact=False, colours=False)[0])
                else:
                    await output.line(harmless(whole))
        return failed

    return with_guest(settings, find)
