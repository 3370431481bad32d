"""A group of commands, one of which is meant when none is named."""

from __future__ import annotations

import click

__all__ = ["DefaultGroup"]

SHARED_FLAGS = ("--json", "--verbose")
SHARED_VALUES = ("--to", "--timeout", "--trace")
"""The options of all commands, see ``shared_options``."""


class DefaultGroup(click.Group):
    """``virtagent users`` is ``virtagent users list``, and so with options: ``virtagent units --failed``.

    The default is the first command that was added. Commands are listed in the order in which they were added. The
    options that all commands share may stand before the command's name: ``virtagent kv --json list``. The help of a
    command that has no examples of its own ends with those of the group that show it.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is not None and command.epilog is None:
            command.epilog = self._examples(ctx.info_name or "", cmd_name)
        return command

    def _examples(self, group: str, name: str) -> str | None:
        lines = [line for line in (self.epilog or "").splitlines() if f" {group} {name} " in f"{line} "]
        return "\n".join(["\b", "Examples:", *lines]) if lines else None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        args = self._name_first(args)
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = [self.list_commands(ctx)[0], *args]
        return super().parse_args(ctx, args)

    def _name_first(self, args: list[str]) -> list[str]:
        """Shared options that stand before a command's name, behind it."""
        at = 0
        while at < len(args) and args[at].partition("=")[0] in (*SHARED_FLAGS, *SHARED_VALUES):
            at += 2 if args[at] in SHARED_VALUES else 1
        options, rest = args[:at], args[at:]
        names: list[str] = []
        group: click.Command = self
        while rest and isinstance(group, click.Group) and rest[0] in group.commands:
            group = group.commands[rest[0]]
            names.append(rest.pop(0))
        return [*names, *options, *rest] if names else args
