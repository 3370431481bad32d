"""``virtagent config``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from virtagent.cli.default_command import DefaultGroup
from virtagent.cli.failures import EXIT_FAILED, EXIT_OK
from virtagent.cli.main import shared_options
from virtagent.cli.output import Output, complain, say
from virtagent.cli.session import with_guest
from virtagent.cli.table import show_table
from virtagent.cli.target import Settings
from virtagent.cli.text import to_json
from virtagent.errors import UsageError

if TYPE_CHECKING:
    from virtagent.api.config import ConfigOutput, ConfigPiece
    from virtagent.host.guest import Guest

__all__ = ["command"]

KINDS = ("script", "ansible", "puppet")
SUFFIXES = {".yml": "ansible", ".yaml": "ansible", ".pp": "puppet"}
LARGEST = 512 * 1024


@click.group(
    cls=DefaultGroup,
    epilog="""\b
Examples:
  virtagent --to web1 config apply web/nginx install-nginx.sh
  virtagent --to web1 config apply web/tls site.yml --env DOMAIN=example.org
  virtagent --to web1 config is-configured web/nginx && echo yes
  virtagent --to web1 config forget web/nginx""",
)
def command() -> None:
    """Apply pieces of configuration to the guest, each of them once.

    A piece has a key. It is run again only if its content, or how it is to be run, has changed, or if it failed.
    """


@command.command("list")
@shared_options
def list_pieces(settings: Settings) -> int:
    """List what has been applied."""

    async def work(guest: Guest) -> None:
        found = await guest.config.list()
        if settings.json:
            for each in found:
                say(to_json(each))
        else:
            show_table(("KEY", "OUTCOME", "EXIT", "WHEN", "SECONDS", "KIND"), [row_of(each) for each in found])

    return with_guest(settings, work)


def row_of(piece: ConfigPiece) -> tuple[object, ...]:
    """A piece in a table."""
    when = f"{piece.when.astimezone():%F %T}"
    return piece.key, piece.outcome, piece.exit_code, when, f"{piece.duration:.1f}", piece.kind


@command.command("apply")
@click.argument("key")
@click.argument("file")
@click.argument("arguments", metavar="[ARGUMENT]...", nargs=-1)
@click.option("--kind", type=click.Choice(KINDS), help="What FILE is [by its suffix: .yml ansible, .pp puppet].")
@click.option("--interpreter", default="", metavar="PROGRAM", help="For a script [its #! line, else /bin/sh].")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="A variable of the environment.")
@click.option("--limit", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="What the run may take.")
@click.option("--force", is_flag=True, help="Run it though it has been applied.")
@shared_options
def apply(
    settings: Settings,
    key: str,
    file: str,
    arguments: tuple[str, ...],
    kind: str | None,
    interpreter: str,
    env: tuple[str, ...],
    limit: float | None,
    force: bool,
) -> int:
    """Apply FILE (-: standard input) under KEY. The exit code is 1 if the run fails."""
    content = read_content(file)
    variables = parse_variables(env)
    chosen: Any = kind or SUFFIXES.get(os.path.splitext(file)[1], "script")

    async def work(guest: Guest) -> int:
        from virtagent.service.streams import TypedStream  # noqa: PLC0415 - loads asyncio, see run()

        output = Output()
        applying = await guest.config.apply(
            key,
            content,
            kind=chosen,
            interpreter=interpreter,
            arguments=[*arguments],
            env=variables,
            timeout=limit,
            force=force,
        )
        code = EXIT_FAILED
        async with TypedStream.of(applying) as items:
            async for item in items:
                code = await show(settings, output, item)
        return code

    return with_guest(settings, work)


async def show(settings: Settings, output: Output, item: ConfigOutput) -> int:
    """One item of a run, as it comes; the exit code if it is the last."""
    if settings.json:
        await output.line(to_json(item))
    elif item.stderr:
        sys.stderr.buffer.write(item.stderr)
        sys.stderr.flush()
    elif item.stdout:
        await output.write(item.stdout)
    piece = item.piece
    if piece is None:
        return EXIT_FAILED
    if not settings.json:
        if piece.outcome != "applied":
            why = "a signal, or its time, ended it" if piece.exit_code is None else f"exit status {piece.exit_code}"
            complain(f"{piece.key}: {piece.outcome} ({why}); it is run again the next time")
        elif not item.changed:
            complain(f"{piece.key}: applied already, {piece.when.astimezone():%F %T}; --force runs it again")
    return EXIT_OK if piece.outcome == "applied" else EXIT_FAILED


def read_content(file: str) -> str:
    """A piece's content.

    Raises:
        UsageError: it cannot be read, or is too large, or no text.
    """
    try:
        if file == "-":
            data = sys.stdin.buffer.read(LARGEST + 1)
        else:
            with open(file, "rb") as opened:
                data = opened.read(LARGEST + 1)
        text = data.decode()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is no UTF-8 text; copy programs with virtagent cp, and apply a script") from None
    if not 0 < len(data) <= LARGEST:
        raise UsageError(f"{file} is {'larger than 512 KiB' if data else 'empty'}")
    return text


def parse_variables(said: tuple[str, ...]) -> dict[str, str]:
    """``NAME=VALUE`` as a dictionary.

    Raises:
        UsageError: it is something else.
    """
    found = {}
    for each in said:
        name, equals, value = each.partition("=")
        if not (name and equals):
            raise UsageError(f"{each!r} is no variable; write NAME=VALUE")
        found[name] = value
    return found


@command.command("output")
@click.argument("key")
@shared_options
def output(settings: Settings, key: str) -> int:
    """Print the end of what the last run of a piece wrote."""

    async def work(guest: Guest) -> None:
        found = await guest.config.output(key)
        out = Output()
        await (out.line(to_json(found)) if settings.json else out.write(found))

    return with_guest(settings, work)


@command.command("is-configured")
@click.argument("key")
@shared_options
def is_configured(settings: Settings, key: str) -> int:
    """Exit with 0 if a piece was applied, with 1 if it was not."""

    async def work(guest: Guest) -> int:
        found = await guest.config.is_configured(key)
        if settings.json:
            say(to_json(found))
        return EXIT_OK if found else EXIT_FAILED

    return with_guest(settings, work)


@command.command("forget")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@shared_options
def forget(settings: Settings, keys: tuple[str, ...]) -> int:
    """Remember nothing of pieces: the next time they are run.

    Nothing is undone.
    """

    async def work(guest: Guest) -> int:
        unknown = [key for key in keys if not await guest.config.forget(key)]
        for key in unknown:
            complain(f"nothing was known of {key}; virtagent config list tells what is")
        return EXIT_FAILED if unknown else EXIT_OK

    return with_guest(settings, work)


@command.command("tools")
@shared_options
def tools(settings: Settings) -> int:
    """List what can be run in the guest, and what is missing."""

    async def work(guest: Guest) -> None:
        found = await guest.config.tools()
        if settings.json:
            for each in found:
                say(to_json(each))
        else:
            rows = [(each.kind, each.program, each.path or f"missing: {each.remedy}") for each in found]
            show_table(("KIND", "PROGRAM", "WHERE"), rows)

    return with_guest(settings, work)
