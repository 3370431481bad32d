"""``virtagent call``."""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import click

from virtagent.cli.arguments import parse_arguments
from virtagent.cli.main import shared_options
from virtagent.cli.output import Output, coloured, say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import to_json
from virtagent.errors import MethodNotFound, VirtagentError

if TYPE_CHECKING:
    from virtagent.host.guest import Guest

__all__ = ["command"]


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="""\b
Examples:
  virtagent --to web1 call files.stat path=/etc/passwd
  virtagent --to web1 call files.stat '{"path": "/etc/passwd"}'
  virtagent --to web1 call log.kernel level=3 | jq .message""",
)
@click.argument("method")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@shared_options
def command(settings: Settings, method: str, arguments: tuple[str, ...]) -> int:
    """Call a method and print its result as JSON.

    METHOD is a name such as system.info. ARGUMENTS are KEY=VALUE pairs, or values by position, or one JSON object or
    array. A value is JSON where it can be, else text: level=3 is a number, level='"3"' is text. A stream is printed
    as it comes: items as JSON, one a line; bytes as they are.
    """
    args, params = parse_arguments(arguments)

    async def call(guest: Guest) -> None:
        try:
            result = await guest.call(method, *args, **params)
        except MethodNotFound as error:
            raise MethodNotFound(f"the guest has no method {method!r}{await suggestion(guest, method)}") from error
        if isinstance(result, AsyncIterator):
            await print_stream(result)
        else:
            say(to_json(result, indent=None if settings.json or not coloured() else 2))

    return with_guest(settings, call)


async def print_stream(stream: Any) -> None:
    """Items as JSON lines, bytes as they are."""
    output = Output()
    async with stream:
        async for each in stream:
            if stream.kind == "items":
                await output.line(to_json(each))
            else:
                await output.write(each)


async def suggestion(guest: Guest, method: str) -> str:
    """Names that are near, as the guest knows them."""
    try:
        names = [each.name for each in await guest.rpc.methods()]
    except VirtagentError:
        return ""
    near = difflib.get_close_matches(method, names, n=3)
    same_end = [name for name in names if name.rpartition(".")[2] == method.rpartition(".")[2]]
    if near or same_end:
        return f"; did you mean {' or '.join(same_end[:3] or near)}?"
    return "; virtagent methods lists them"
