"""``virtagent kv``."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from virtagent.cli.default_command import DefaultGroup
from virtagent.cli.failures import EXIT_FAILED, EXIT_OK
from virtagent.cli.main import shared_options
from virtagent.cli.output import Output, complain, say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import harmless, one_line, to_json
from virtagent.errors import UsageError

if TYPE_CHECKING:
    from typing import Any

    from virtagent.host.guest import Guest

__all__ = ["command"]

LARGEST = 64 * 1024
"""Bytes of a value."""


@click.group(
    short_help="The small key/value store that host and guest share.",
    cls=DefaultGroup,
    epilog="""\b
Examples:
  virtagent --to web1 kv set web/address 10.0.0.1
  virtagent --to web1 kv get web/address
  virtagent --to web1 kv watch web/
In the guest, with virtagentd --channel unix:/run/virtagent/agent.sock:
  virtagent --to unix:/run/virtagent/agent.sock kv set web/state ready""",
)
def command() -> None:
    """Read, write and watch the small key/value store that is shared with the guest."""


def shown(value: bytes | None) -> str:
    """A value in a line: text as it is, what is no text as Python writes bytes."""
    if value is None:
        return ""
    try:
        return one_line(value.decode())
    except UnicodeDecodeError:
        return repr(value)


def plain(struct: Any) -> dict[str, Any]:
    """A struct for JSON: a value that is text is text."""
    fields = {name: getattr(struct, name) for name in struct.__struct_fields__}
    if isinstance(fields.get("value"), bytes):
        with suppress(UnicodeDecodeError):  # which becomes {"$bytes": ...}
            fields["value"] = fields["value"].decode()
    return fields


@command.command("list")
@click.argument("prefix", default="")
@click.option("-v", "--values", is_flag=True, help="With their values, as KEY=VALUE.")
@shared_options
def list_keys(settings: Settings, prefix: str, values: bool) -> int:
    """List keys, or those that begin with PREFIX."""

    async def list_them(guest: Guest) -> None:
        from virtagent.service.streams import TypedStream  # noqa: PLC0415 - loads asyncio, see run()

        output = Output()
        async with TypedStream.of(guest.kv.list(prefix, values=values)) as entries:
            async for each in entries:
                if settings.json:
                    await output.line(to_json(plain(each)))
                else:
                    await output.line(f"{harmless(each.key)}={shown(each.value)}" if values else harmless(each.key))

    return with_guest(settings, list_them)


@command.command("get")
@click.argument("key")
@shared_options
def get(settings: Settings, key: str) -> int:
    """Print the value of KEY: its bytes as they are, and a newline on a terminal."""

    async def print_it(guest: Guest) -> None:
        entry = await guest.kv.get(key)
        if settings.json:
            say(to_json(plain(entry)))
        elif sys.stdout.isatty():
            say(shown(entry.value))
        else:
            await Output().write(entry.value or b"")

    return with_guest(settings, print_it)


@command.command("set")
@click.argument("key")
@click.argument("value", required=False)
@click.option("--version", type=click.IntRange(0), metavar="N", help="Only if KEY has this version; 0: if it is new.")
@shared_options
def set_key(settings: Settings, key: str, value: str | None, version: int | None) -> int:
    """Give KEY a VALUE; without one, what standard input holds."""
    data = value.encode("utf-8", "surrogateescape") if value is not None else read_value()

    async def write(guest: Guest) -> None:
        written = await guest.kv.set(key, data, version=version)
        if settings.json:
            say(to_json(written))
        elif not written.durable:
            complain("it is kept in memory, and written to disk after the thaw")

    return with_guest(settings, write)


def read_value() -> bytes:
    """Standard input, if a value has room for it.

    Raises:
        UsageError: it has not.
    """
    data = sys.stdin.buffer.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise UsageError(f"a value has at most {LARGEST} bytes")
    return data


@command.command("delete")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("--version", type=click.IntRange(0), metavar="N", help="Only if KEY has this version.")
@shared_options
def delete(settings: Settings, keys: tuple[str, ...], version: int | None) -> int:
    """Take keys away; the exit code is 1 if one was not there."""

    async def delete_them(guest: Guest) -> int:
        code = EXIT_OK
        for key in keys:
            written = await guest.kv.delete(key, version=version)
            if settings.json:
                say(to_json({"key": key, "version": written.version, "durable": written.durable}))
            if not written.version:
                complain(f"there is no key {one_line(key)!r}")
                code = EXIT_FAILED
        return code

    return with_guest(settings, delete_them)


@command.command("watch")
@click.argument("prefix", default="")
@click.option("-c", "--count", type=click.IntRange(1), metavar="N", help="End after so many changes. [never]")
@shared_options
def watch(settings: Settings, prefix: str, count: int | None) -> int:
    """Print keys with their values, and each change as it comes; it goes on when the connection was lost."""

    async def follow(guest: Guest) -> None:
        from virtagent.service.streams import TypedStream  # noqa: PLC0415 - loads asyncio, see run()

        output, left = Output(), count
        async with TypedStream.of(guest.kv.follow(prefix)) as changes:
            async for each in changes:
                if settings.json:
                    await output.line(to_json(plain(each)))
                elif each.kind == "deleted":
                    await output.line(f"{harmless(each.key)} deleted")
                elif each.kind == "reset":
                    await output.line("-- changes were missed; what there is now follows --")
                elif each.kind != "ready":
                    await output.line(f"{harmless(each.key)}={shown(each.value)}")
                if left is not None and each.kind in ("set", "deleted"):
                    left -= 1
                    if not left:
                        return

    return with_guest(settings, follow)


@command.command("status")
@shared_options
def status(settings: Settings) -> int:
    """Show how much there is, where it is kept, and whether that is well."""

    async def show(guest: Guest) -> None:
        found = await guest.kv.status()
        if settings.json:
            say(to_json(found))
            return
        keys = f"{found.keys} key{'s' * (found.keys != 1)}"
        say(f"{keys}, {found.bytes} bytes, version {found.version}, in {one_line(found.path)}")
        if found.waiting:
            say(f"{found.waiting} changes wait for a thaw before they are on disk")
        if found.damage:
            say(f"the file was damaged: {one_line(found.damage)}")

    return with_guest(settings, show)
