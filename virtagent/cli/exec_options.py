"""How a program is run: the options that ``exec`` and ``shell`` share, as docker exec has them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from virtagent.cli.durations import seconds
from virtagent.errors import UsageError

__all__ = ["command_fields", "environment", "program_options"]


def program_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: -u, -w, -e, --env-file, --limit and the like, given to the function as ``run_as``, ``cwd``, ..."""
    for option in (
        click.option("--deadline", metavar="DURATION", help="End it after this time, such as 90 or 10m; code 124."),
        click.option("--umask", metavar="OCTAL", help="Its umask, such as 022."),
        click.option(
            "--limit", "limits", multiple=True, metavar="NAME=N", help="A resource limit, such as nofile=1024."
        ),
        click.option(
            "--env-file", multiple=True, metavar="FILE", help="Lines NAME=VALUE; NAME is passed on from here."
        ),
        click.option(
            "-e", "--env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable, or pass it on from here."
        ),
        click.option("-w", "--workdir", metavar="PATH", help="The directory in which it runs."),
        click.option("-u", "--user", metavar="USER[:GROUP]", help="As whom it runs: names or numbers."),
    ):
        function = option(function)
    return function


def environment(pairs: Sequence[str], files: Sequence[str]) -> dict[str, str]:
    """The variables that options give; those of files first.

    Raises:
        UsageError: a file cannot be read, or a line is none.
    """
    found: dict[str, str] = {}
    for name in files:
        try:
            lines = Path(name).read_text(errors="surrogateescape").splitlines()
        except OSError as error:
            raise UsageError(f"--env-file {name}: {error.strerror}; give a file of lines NAME=VALUE") from None
        for line in lines:
            if line.strip() and not line.lstrip().startswith("#"):
                _add(found, line.strip(), f"--env-file {name}")
    for pair in pairs:
        _add(found, pair, "-e")
    return found


def _add(found: dict[str, str], pair: str, where: str) -> None:
    name, given, value = pair.partition("=")
    if not name or " " in name:
        raise UsageError(f"{where}: {pair!r} is no variable; write NAME=VALUE, or NAME for the value that it has here")
    if given:
        found[name] = value
    elif name in os.environ:
        found[name] = os.environ[name]


def command_fields(
    user: str | None, workdir: str | None, umask: str | None, limits: Sequence[str], deadline: str | None
) -> dict[str, Any]:
    """Fields of a ``Command`` from options.

    Raises:
        UsageError: a value cannot be understood.
    """
    fields: dict[str, Any] = {}
    if user is not None:
        name, _, group = user.partition(":")
        fields |= {"user": name, "group": group}
    if workdir is not None:
        fields["cwd"] = workdir
    if umask is not None:
        try:
            fields["umask"] = int(umask, 8)
        except ValueError:
            raise UsageError(f"--umask {umask!r} is no octal number; write one such as 022") from None
    if limits:
        fields["limits"] = dict(map(_limit, limits))
    if deadline is not None:
        fields["timeout"] = seconds(deadline)
    return fields


def _limit(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    if value == "unlimited":
        return name, -1
    if not value.isascii() or not value.isdecimal():
        raise UsageError(f"--limit {text!r}: write NAME=NUMBER, such as nofile=1024, or NAME=unlimited")
    return name, int(value)
