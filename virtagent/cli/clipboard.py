"""``virtagent clipboard``."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import click

from virtagent.cli.default_command import DefaultGroup
from virtagent.cli.main import shared_options
from virtagent.cli.output import Output, say
from virtagent.cli.session import with_guest
from virtagent.cli.table import show_table
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json
from virtagent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtagent.host.guest import Guest

__all__ = ["command"]

TEXT = "text/plain;charset=utf-8"
CHUNK = 64 * 1024
LARGEST = 16 * 1024 * 1024
SUFFIXES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".svg": "image/svg+xml",
    ".html": "text/html",
}


@click.group(
    short_help="The clipboard of a desktop session in the guest.",
    cls=DefaultGroup,
    epilog="""\b
Examples:
  virtagent --to desk clipboard get
  echo hello | virtagent --to desk clipboard set
  virtagent --to desk clipboard get --type image/png -o shot.png
  virtagent --to desk clipboard set shot.png
  virtagent --to desk clipboard watch""",
)
def command() -> None:
    """Get, set and watch the clipboard of a desktop session in the guest.

    A helper has to run in the session: virtagentd session, which desktops start by themselves once it is installed.
    """


def in_session(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options that tell which clipboard is meant."""
    function = click.option("--session", default="", metavar="ID|USER", help="Which session [the latest].")(function)
    return click.option("--primary", is_flag=True, help="What is selected with the mouse instead.")(function)


def selection_of(primary: bool) -> Any:
    """The selection's name."""
    return "primary" if primary else "clipboard"


@command.command("get")
@click.option("-t", "--type", "kind", default=TEXT, metavar="TYPE", help="A media type, such as image/png [text].")
@click.option("-o", "--output", "file", metavar="FILE", help="Write to a file.")
@in_session
@shared_options
def get(settings: Settings, kind: str, file: str | None, session: str, primary: bool) -> int:
    """Print what is in the clipboard, as it is."""
    if file is None and not kind.startswith("text/") and sys.stdout.isatty() and not settings.json:
        raise UsageError(f"{kind} is nothing for a terminal; add -o FILE, or pipe it on")

    async def work(guest: Guest) -> None:
        from virtagent.service.streams import TypedStream  # noqa: PLC0415 - loads asyncio, see run()

        content = await guest.clipboard.get(type=kind, session=session, selection=selection_of(primary))
        if file is None and not settings.json:
            output = Output()
            async with TypedStream.of(content) as chunks:
                async for chunk in chunks:
                    await output.write(chunk)
            return
        data = await TypedStream.of(content).read_all()  # whole, lest a file is left half-written
        if settings.json:
            say(to_json(data.decode(errors="replace") if kind == TEXT else data))
        if file is not None:
            write_file(file, data)

    return with_guest(settings, work)


def write_file(file: str, data: bytes) -> None:
    """Write a file.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        with open(file, "wb") as opened:
            opened.write(data)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None


@command.command("set")
@click.argument("file", required=False)
@click.option("-t", "--type", "kind", metavar="TYPE", help="Its media type [by the suffix of FILE, else text].")
@in_session
@shared_options
def set_content(settings: Settings, file: str | None, kind: str | None, session: str, primary: bool) -> int:
    """Put FILE, or standard input, into the clipboard."""
    chosen = kind or next((SUFFIXES[each] for each in SUFFIXES if (file or "").lower().endswith(each)), TEXT)
    content = None if file in (None, "-") else read_file(str(file))

    async def work(guest: Guest) -> None:
        from virtagent.cli.standard_input import standard_input  # noqa: PLC0415 - other verbs need none of it

        source = standard_input() if content is None else pieces(content)
        size = await guest.clipboard.set(source, type=chosen, session=session, selection=selection_of(primary))
        if settings.json:
            say(to_json({"type": chosen, "size": size}))

    return with_guest(settings, work)


def read_file(file: str) -> bytes:
    """A file's bytes.

    Raises:
        UsageError: it cannot be read, or is too large.
    """
    try:
        with open(file, "rb") as opened:
            data = opened.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    if len(data) > LARGEST:
        raise UsageError(f"{file} is too large: a clipboard takes {LARGEST >> 20} MiB")
    return data


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    """Bytes, piece by piece."""
    for at in range(0, len(data), CHUNK):
        yield data[at : at + CHUNK]


@command.command("clear")
@in_session
@shared_options
def clear(settings: Settings, session: str, primary: bool) -> int:
    """Empty the clipboard."""

    async def work(guest: Guest) -> None:
        await guest.clipboard.clear(session=session, selection=selection_of(primary))

    return with_guest(settings, work)


@command.command("types")
@in_session
@shared_options
def types(settings: Settings, session: str, primary: bool) -> int:
    """List the media types that can be had."""

    async def work(guest: Guest) -> None:
        for each in await guest.clipboard.types(session=session, selection=selection_of(primary)):
            say(to_json(each) if settings.json else one_line(each))

    return with_guest(settings, work)


@command.command("watch")
@click.option("--session", default="", metavar="ID|USER", help="Only this session.")
@shared_options
def watch(settings: Settings, session: str) -> int:
    """Tell of each change, as it comes, until Ctrl-C."""

    async def work(guest: Guest) -> None:
        from virtagent.service.streams import TypedStream  # noqa: PLC0415 - loads asyncio, see run()

        output = Output()
        async with TypedStream.of(await guest.clipboard.watch(session=session)) as changes:
            async for change in changes:
                told = f"{change.user} {change.session} {change.selection} {', '.join(change.types) or '(empty)'}"
                await output.line(to_json(change) if settings.json else one_line(told))

    return with_guest(settings, work)


@command.command("sessions")
@shared_options
def sessions(settings: Settings) -> int:
    """List the desktop sessions whose clipboards can be reached."""

    async def work(guest: Guest) -> None:
        found = await guest.clipboard.sessions()
        if settings.json:
            for each in found:
                say(to_json(each))
        else:
            rows = [(s.id, s.user, s.kind, s.display, f"{s.since.astimezone():%F %T}") for s in found]
            show_table(("SESSION", "USER", "KIND", "DISPLAY", "SINCE"), rows)

    return with_guest(settings, work)
