"""``virtagent``: talks to the agents of virtual machines, for people and scripts."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import click

from virtagent import __version__
from virtagent.cli.failures import EXIT_INTERRUPTED, EXIT_USAGE
from virtagent.cli.output import complain
from virtagent.cli.session import finish
from virtagent.cli.target import Settings
from virtagent.errors import UsageError

__all__ = ["main", "program", "shared_options"]

COMMANDS = {
    "attach": "virtagent.cli.attach",
    "bench": "virtagent.cli.bench",
    "call": "virtagent.cli.call",
    "cat": "virtagent.cli.cat",
    "clipboard": "virtagent.cli.clipboard",
    "completion": "virtagent.cli.completion",
    "config": "virtagent.cli.config",
    "cp": "virtagent.cli.cp",
    "decode": "virtagent.cli.decode",
    "disks": "virtagent.cli.disks",
    "dmesg": "virtagent.cli.dmesg",
    "doctor": "virtagent.cli.doctor",
    "du": "virtagent.cli.du",
    "events": "virtagent.cli.events",
    "find": "virtagent.cli.find",
    "exec": "virtagent.cli.exec",
    "freeze": "virtagent.cli.freeze",
    "guests": "virtagent.cli.guests",
    "hardware": "virtagent.cli.hardware",
    "info": "virtagent.cli.info",
    "jobs": "virtagent.cli.jobs",
    "journal": "virtagent.cli.journal",
    "kv": "virtagent.cli.kv",
    "ls": "virtagent.cli.ls",
    "methods": "virtagent.cli.methods",
    "mkdir": "virtagent.cli.mkdir",
    "net": "virtagent.cli.net",
    "ping": "virtagent.cli.ping",
    "ps": "virtagent.cli.ps",
    "reboot": "virtagent.cli.reboot",
    "rm": "virtagent.cli.rm",
    "shell": "virtagent.cli.shell",
    "shutdown": "virtagent.cli.shutdown",
    "stat": "virtagent.cli.stat",
    "stats": "virtagent.cli.stats",
    "suspend": "virtagent.cli.suspend",
    "sync": "virtagent.cli.sync",
    "tail": "virtagent.cli.tail",
    "thaw": "virtagent.cli.thaw",
    "time": "virtagent.cli.time",
    "top": "virtagent.cli.top",
    "trim": "virtagent.cli.trim",
    "units": "virtagent.cli.units",
    "users": "virtagent.cli.users",
    "wait-ready": "virtagent.cli.wait_ready",
}
"""Where each command lives: its module has ``command``."""


def positive(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Refuse times that are none."""
    if value is not None and not 0 < value < 1e9:
        raise click.BadParameter("give a positive number of seconds")
    return value


def guest_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of guests that a shell may complete to; none where they cannot be found out."""
    from virtagent.host.discovery import list_guests  # noqa: PLC0415 - for a shell that asks

    try:
        return [each.name for each in list_guests() if each.name.startswith(incomplete)]
    except UsageError:
        return []


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that the program and every command take."""
    for option in (
        click.option("--trace", metavar="FILE", help="Record the session to a new file, for 'virtagent decode'."),
        click.option("--verbose", is_flag=True, help="Show the log on standard error."),
        click.option(
            "--timeout",
            type=float,
            callback=positive,
            metavar="SECONDS",
            help="To wait for the guest [10], and for each answer [60].",
        ),
        click.option("--json", is_flag=True, help="Results as JSON, one value a line."),
        click.option(
            "--to",
            metavar="URL|NAME",
            shell_complete=guest_names,
            help="Which guest [$VIRTAGENT_TO, or the only one known].",
        ),
    ):
        function = option(function)
    return function


def shared_options(function: Callable[..., int]) -> Callable[..., None]:
    """Decorator for commands: the shared options, before the command's name or after it, become ``Settings``."""

    @options
    @click.pass_context
    @functools.wraps(function)
    def command(
        context: click.Context,
        /,
        to: str | None,
        json: bool,
        timeout: float | None,
        verbose: bool,
        trace: str | None,
        **rest: Any,
    ) -> None:
        settings = context.find_object(Settings) or Settings()
        told = settings.over(to=to, json=json, timeout=timeout, verbose=verbose, trace=trace)
        context.exit(function(told, **rest))

    return command


class LazyGroup(click.Group):
    """Loads a command's module when it is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(module).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from virtagent.cli.sections import write_sections  # noqa: PLC0415 - for --help only

        write_sections(self, ctx, formatter)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done, 1 the call failed, 2 usage, 3 no channel, 4 nobody answers, 5 deadline, 6 session lost,"
    " 7 no permission, 8 slower (bench), 9 not measured (bench), 130 Ctrl-C.",
)
@click.version_option(__version__, prog_name="virtagent", message="%(prog)s %(version)s")
@options
@click.pass_context
def program(
    context: click.Context, to: str | None, json: bool, timeout: float | None, verbose: bool, trace: str | None
) -> None:
    """Talk to the agents of virtual machines."""
    context.obj = Settings(to=to, json=json, timeout=timeout, verbose=verbose, trace=trace)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(EXIT_USAGE)


def usage_text(error: click.UsageError) -> str:
    """One line for wrong usage."""
    where = error.ctx.command_path if error.ctx is not None else "virtagent"
    return f"{error.format_message().rstrip('.')}; {where} --help tells more"


def main() -> None:
    """The program."""
    try:
        code = program.main(standalone_mode=False)
    except click.UsageError as error:
        complain(usage_text(error))
        code = EXIT_USAGE
    except UsageError as error:
        complain(str(error))
        code = EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        code = EXIT_INTERRUPTED
    finish(code or 0)


if __name__ == "__main__":
    main()
