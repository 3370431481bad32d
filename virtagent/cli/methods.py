"""``virtagent methods``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json

if TYPE_CHECKING:
    from virtagent.host.guest import Guest
    from virtagent.service.description import MethodDescription, ParameterDescription

__all__ = ["command"]


def parameter_text(parameter: ParameterDescription) -> str:
    """``path: str``, ``level: int = 3``, ``data: stream of bytes``."""
    kind = f"stream of {parameter.type}" if parameter.stream else parameter.type
    return f"{parameter.name}: {kind}" + ("" if parameter.required else f" = {parameter.default!r}")


def signature(method: MethodDescription) -> str:
    """The method as Python would write it."""
    if not method.typed:
        return f"{method.name}(...)"
    words = [parameter_text(each) for each in method.parameters if each.positional]
    named = [parameter_text(each) for each in method.parameters if not each.positional]
    if named:
        words += ["*", *named]
    returns = f"stream of {method.returns}" if method.stream else method.returns
    return one_line(f"{method.name}({', '.join(words)}) -> {returns}")


@click.command(
    epilog="""\b
Examples:
  virtagent --to web1 methods
  virtagent --to web1 methods storage.""",
)
@click.argument("prefix", default="")
@shared_options
def command(settings: Settings, prefix: str) -> int:
    """List the methods that can be called.

    Those whose names start with PREFIX; without it, all.
    """

    async def methods(guest: Guest) -> int | None:
        import asyncio  # noqa: PLC0415 - loaded by now, see run()

        names = [each.name for each in await guest.rpc.methods(prefix)]
        found = await asyncio.gather(*(guest.rpc.describe(name) for name in names))
        for each in found:
            if settings.json:
                say(to_json(each))
            else:
                say(signature(each) + (f"\n    {one_line(each.summary)}" if each.summary else ""))
        return None

    return with_guest(settings, methods)
