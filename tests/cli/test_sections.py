from __future__ import annotations

from collections import Counter

import click
from click.testing import CliRunner

from virtagent.cli.main import COMMANDS, program
from virtagent.cli.sections import SECTIONS


def test_every_command_is_in_one_section() -> None:
    placed = Counter(name for names in SECTIONS.values() for name in names)
    assert placed == Counter(COMMANDS.keys())


def test_the_help_tells_of_every_command_in_one_line() -> None:
    told = CliRunner().invoke(program, ["--help"]).output
    for name in COMMANDS:
        lines = [line for line in told.splitlines() if line.startswith(f"  {name} ")]
        assert len(lines) == 1, name


def test_every_command_says_what_it_does() -> None:
    context = click.Context(program)
    for name in COMMANDS:
        command = program.get_command(context, name)
        assert command is not None
        assert command.help, name
