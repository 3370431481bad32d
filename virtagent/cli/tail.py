"""``virtagent tail``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from virtagent.cli.arguments import size
from virtagent.cli.main import shared_options
from virtagent.cli.output import Output, complain
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json
from virtagent.errors import NotFound

if TYPE_CHECKING:
    from virtagent.api.file_types import Followed
    from virtagent.host.guest import Guest

__all__ = ["command"]

_TOLD = {
    "rotated": "has been replaced; going on with the new file",
    "truncated": "became shorter; going on from its begin",
    "missing": "is not there; waiting for it",
}


@click.command(
    epilog="""\b
Examples:
  virtagent --to web1 tail -n 50 /var/log/syslog
  virtagent --to web1 tail -F /var/log/nginx/access.log
  virtagent --to web1 tail -c 4K /var/log/wtmp | xxd"""
)
@click.argument("path")
@click.option(
    "-n", "--lines", type=click.IntRange(0, 1_000_000), default=10, metavar="N", help="The last N lines. [10]"
)
@click.option("-c", "--bytes", "count", metavar="BYTES", help="The last bytes instead, such as 4K.")
@click.option("-f", "-F", "--follow", is_flag=True, help="Go on with what is added, by name, through log rotation.")
@shared_options
def command(settings: Settings, path: str, lines: int, count: str | None, follow: bool) -> int:
    """Print the end of a file of the guest, and what is added to it."""
    wanted = None if count is None else size(count)

    async def show(guest: Guest) -> None:
        output = Output()
        options: dict[str, Any] = {"lines": lines}
        end: int | None = None
        try:
            found = await guest.files.stat(path)
        except NotFound:
            if not follow:
                raise
        else:
            if found.kind != "file" or (not found.size and not follow):
                await show_all(guest, output)
                return
            end = found.size
            if wanted is not None:
                options = {"offset": max(0, found.size - wanted)}
        await show_end(guest, output, None if follow else end, options)

    async def show_end(guest: Guest, output: Output, end: int | None, options: dict[str, Any]) -> None:
        """Print what comes, up to a position if there is one."""
        from virtagent.service.streams import TypedStream  # noqa: PLC0415 - loads asyncio, see run()

        if end is not None and not (wanted if wanted is not None else lines):
            return
        async with TypedStream.of(guest.files.follow(path, **options)) as pieces:
            async for piece in pieces:
                await show_piece(output, piece, end)
                if end is not None and (piece.kind != "data" or piece.offset + len(piece.data) >= end):
                    return

    async def show_piece(output: Output, piece: Followed, end: int | None) -> None:
        if settings.json:
            await output.line(to_json(piece))
        elif piece.kind == "data":
            await output.write(piece.data if end is None else piece.data[: max(0, end - piece.offset)])
        else:
            complain(f"{one_line(path)} {_TOLD[piece.kind]}")

    async def show_all(guest: Guest, output: Output) -> None:
        """The end of what has no positions, such as a file of /proc."""
        data = await guest.files.read_bytes(path)
        if wanted is not None:
            data = data[max(0, len(data) - wanted) :]
        else:
            data = b"".join(data.splitlines(keepends=True)[-lines:] if lines else [])
        await output.write(to_json({"kind": "data", "data": data}).encode() + b"\n" if settings.json else data)

    return with_guest(settings, show)
