from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from virtagent.cli.default_command import DefaultGroup
from virtagent.cli.main import COMMANDS, program, shared_options
from virtagent.cli.sections import SECTIONS
from virtagent.cli.target import Settings


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


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_of_every_command_has_examples(name: str) -> None:
    told = CliRunner().invoke(program, [name, "--help"]).output
    examples = [line.strip() for line in told.splitlines()[1:] if line.startswith("  ") and f" {name}" in line]
    assert any(line.startswith("virtagent ") or "(virtagent " in line for line in examples), told


def test_the_help_of_a_command_in_a_group_shows_the_examples_of_that_command() -> None:
    told = CliRunner().invoke(program, ["kv", "watch", "--help"]).output
    assert told.endswith("Examples:\n    virtagent --to web1 kv watch web/\n")
    assert "kv set" not in told


def test_the_document_of_commands_has_each_of_them() -> None:
    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    assert [name for name in COMMANDS if f"`{name} " not in text and f"`{name}`" not in text] == []


@click.group("things", cls=DefaultGroup)
def things() -> None:
    """Things."""


@things.command("list")
@click.argument("prefix", default="")
@click.option("--all", "everything", is_flag=True)
@shared_options
def list_things(settings: Settings, prefix: str, everything: bool) -> int:
    """List them."""
    click.echo(f"list {prefix!r} {everything} {settings.json} {settings.to}")
    return 0


@things.group("inner")
def inner() -> None:
    """More of them."""


@inner.command("add")
@shared_options
def add(settings: Settings) -> int:
    """Add one."""
    click.echo(f"add {settings.json} {settings.to}")
    return 0


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ([], "list '' False False None"),
        (["--json"], "list '' False True None"),
        (["--json", "list"], "list '' False True None"),
        (["--to", "list", "--json", "list", "list"], "list 'list' False True list"),
        (["--to=web1", "list", "--all"], "list '' True False web1"),
        (["--all", "list"], "list 'list' True False None"),
        (["--json", "x"], "list 'x' False True None"),
        (["--json", "inner", "add", "--to", "x"], "add True x"),
    ],
)
def test_shared_options_may_stand_before_the_name_of_a_command_in_a_group(line: list[str], told: str) -> None:
    assert CliRunner().invoke(things, line).output.strip() == told
