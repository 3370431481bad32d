"""A group of commands, one of which is meant when none is named."""

from __future__ import annotations

import click

__all__ = ["DefaultGroup"]


class DefaultGroup(click.Group):
    """``virtagent users`` is ``virtagent users list``, and so with options: ``virtagent units --failed``.

    The default is the first command that was added. Commands are listed in the order in which they were added.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = [self.list_commands(ctx)[0], *args]
        return super().parse_args(ctx, args)
