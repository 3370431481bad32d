"""``virtagent completion``."""

from __future__ import annotations

import os
from pathlib import PurePath

import click

from virtagent.cli.failures import EXIT_OK
from virtagent.cli.main import program, shared_options
from virtagent.cli.output import say
from virtagent.cli.target import Settings
from virtagent.errors import UsageError

__all__ = ["VARIABLE", "command"]

VARIABLE = "_VIRTAGENT_COMPLETE"
"""What click's scripts set when the shell asks for completions."""

SHELLS = ("bash", "fish", "zsh")

EXAMPLES = """\b
Examples:
  eval "$(virtagent completion)"                                   in this bash or zsh
  virtagent completion bash > ~/.local/share/bash-completion/completions/virtagent
  virtagent completion fish > ~/.config/fish/completions/virtagent.fish
"""


def shell_in_use() -> str:
    """The shell that ``$SHELL`` names.

    Raises:
        UsageError: it is none that can be completed for.
    """
    name = PurePath(os.environ.get("SHELL", "")).name
    if name in SHELLS:
        return name
    raise UsageError(f"which shell? write virtagent completion {'|'.join(SHELLS)}")


@click.command(short_help="Print what makes a shell complete commands and guests.", epilog=EXAMPLES)
@click.argument("shell", required=False, type=click.Choice(SHELLS))
@shared_options
def command(settings: Settings, shell: str | None) -> int:
    """Print the script that makes a shell complete commands, options and guests' names."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - few commands need it

    made = get_completion_class(shell or shell_in_use())
    assert made is not None
    say(made(program, {}, "virtagent", VARIABLE).source())
    return EXIT_OK
