"""``virtagent shell``."""

from __future__ import annotations

import click

from virtagent.cli.exec import local_terminal_of, run_in_guest
from virtagent.cli.exec_options import command_fields, environment
from virtagent.cli.exit_status import PassingCommand
from virtagent.cli.local_terminal import is_terminal
from virtagent.cli.main import shared_options
from virtagent.cli.target import Settings
from virtagent.errors import UsageError

__all__ = ["command"]

LOGIN = 'cd 2>/dev/null; exec "${SHELL:-/bin/sh}" -l'


@click.command(
    cls=PassingCommand,
    epilog="""\b
Examples:
  virtagent --to web1 shell
  virtagent --to web1 shell -u postgres

Enter ~ . leaves, also when the guest does not answer. For a script, use exec -i sh.""",
)
@click.option("-u", "--user", metavar="USER[:GROUP]", help="Whose shell. [who the agent is, usually root]")
@click.option("-e", "--env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable, or pass it on from here.")
@shared_options
def command(settings: Settings, user: str | None, env: tuple[str, ...]) -> int:
    """Open a login shell in the guest, in this terminal."""
    from virtagent.api.processes import Command  # noqa: PLC0415 - not needed for --help

    if not is_terminal():
        raise UsageError("a shell needs a terminal on standard input; for a script, use virtagent exec -i sh")
    fields = command_fields(user, None, None, (), None)
    made = Command(shell=LOGIN, terminal=local_terminal_of(True), **fields)
    return run_in_guest(settings, made, environment(env, ()), interactive=True)
