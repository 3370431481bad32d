"""``virtagent exec``."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import click

from virtagent.cli.arguments import size
from virtagent.cli.exec_options import command_fields, environment, program_options
from virtagent.cli.exit_status import PassingCommand, Status, status_of
from virtagent.cli.main import shared_options
from virtagent.cli.output import Output, complain, say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import to_json
from virtagent.errors import CallError, UsageError

if TYPE_CHECKING:
    from virtagent.api.processes import Command, ProcessOutput
    from virtagent.cli.signals import Forwarder
    from virtagent.host.guest import Guest

__all__ = ["command", "run_in_guest"]


@click.command(
    short_help="Run a program in the guest; its exit code is passed on.",
    cls=PassingCommand,
    epilog="""\b
Examples:
  virtagent --to web1 exec uname -a
  virtagent --to web1 exec -it -u postgres psql
  tar c . | virtagent --to web1 exec -i -w /srv tar x
  virtagent --to web1 exec -e DEBIAN_FRONTEND=noninteractive --detach apt-get -y upgrade

The exit code is the program's, 128 + N if signal N ended it; 124 --deadline passed, 125 something else
failed, 126 it cannot be executed, 127 there is no such program.""",
)
@click.argument("argv", metavar="PROGRAM [ARGUMENT]...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("-i", "--interactive", is_flag=True, help="Give it what comes on standard input.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal. With -i, Enter ~ . leaves.")
@click.option("-s", "--shell", is_flag=True, help="The arguments are a line for the guest's /bin/sh.")
@click.option("-d", "--detach", is_flag=True, help="Start it as a job that goes on by itself, and print its number.")
@click.option("--name", metavar="TEXT", default="", help="With --detach: what to call the job.")
@click.option("--keep", metavar="SIZE", default="1M", help="With --detach: how much of its output is kept. [1M]")
@program_options
@shared_options
def command(
    settings: Settings,
    argv: tuple[str, ...],
    interactive: bool,
    tty: bool,
    shell: bool,
    detach: bool,
    name: str,
    keep: str,
    user: str | None,
    workdir: str | None,
    env: tuple[str, ...],
    env_file: tuple[str, ...],
    limits: tuple[str, ...],
    umask: str | None,
    deadline: str | None,
) -> int:
    """Run a program in the guest: its output and its exit code are those of this command.

    Ctrl-C goes to the program; twice within a second, it ends this command and the program.
    """
    from virtagent.api.processes import Command  # noqa: PLC0415 - not needed for --help

    fields = command_fields(user, workdir, umask, limits, deadline)
    variables = environment(env, env_file)
    fields |= {"shell": " ".join(argv)} if shell else {"argv": [*argv]}
    fields["terminal"] = local_terminal_of(interactive) if tty else None
    made = Command(**fields)
    if detach:
        return start_job(settings, made, variables, stdin=interactive, name=name, keep=size(keep))
    return run_in_guest(settings, made, variables, interactive=interactive)


def local_terminal_of(interactive: bool) -> Any:
    """A terminal of this one's size.

    Raises:
        UsageError: keys are to be given to it, but there is no keyboard.
    """
    from virtagent.api.processes import Terminal  # noqa: PLC0415 - not needed for --help
    from virtagent.cli.local_terminal import is_terminal, terminal_size, terminal_type  # noqa: PLC0415

    if interactive and not is_terminal():
        raise UsageError("-t with -i needs a terminal on standard input; leave -t out to give the program a pipe")
    columns, rows = terminal_size()
    return Terminal(columns=min(columns, 10000), rows=min(rows, 10000), type=terminal_type())


def start_job(settings: Settings, made: Command, env: dict[str, str], *, stdin: bool, name: str, keep: int) -> int:
    """Start it detached; print its number."""
    status = Status()

    async def start(guest: Guest) -> None:
        fields = {each: getattr(made, each) for each in made.__struct_fields__}
        try:
            job = await guest.jobs.start(fields.pop("argv"), env=env, stdin=stdin, name=name, keep=keep, **fields)
        except CallError as error:
            if not status.refused(error):
                raise
        else:
            say(to_json(job) if settings.json else str(job.job))

    return status.final(with_guest(settings, start))


def run_in_guest(settings: Settings, made: Command, env: dict[str, str], *, interactive: bool) -> int:
    """Run a program with our streams; its exit code."""
    status = Status()

    async def run(guest: Guest) -> int | None:
        import asyncio  # noqa: PLC0415 - run() chooses how it is loaded

        from virtagent.cli.local_terminal import raw_terminal  # noqa: PLC0415 - not needed for --help
        from virtagent.cli.signals import forwarding  # noqa: PLC0415

        following = Following(guest, settings, made, status)
        try:
            terminal = made.terminal is not None
            with forwarding(following.forwarder), raw_terminal(keys=interactive and terminal, output=terminal):
                await following.follow(env, interactive=interactive)
        except CallError as error:
            if status.refused(error):
                return None
            raise
        except asyncio.CancelledError:
            if not following.forwarder.ended_by:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            return 128 + following.forwarder.ended_by
        return None

    return status.final(with_guest(settings, run))


class Following:
    """A program of the guest, from its start to its end."""

    def __init__(self, guest: Guest, settings: Settings, made: Command, status: Status) -> None:
        from virtagent.cli.signals import Forwarder  # noqa: PLC0415 - not needed for --help

        self._guest = guest
        self._settings = settings
        self._command = made
        self._status = status
        self._out, self._err = Output(), Output(sys.stderr)
        self._pid = self._ticks = 0
        self.forwarder: Forwarder = Forwarder(self._signal, self._resize if made.terminal is not None else None)

    async def follow(self, env: dict[str, str], *, interactive: bool) -> None:
        """Run it."""
        from virtagent.api.processes import Processes  # noqa: PLC0415 - not needed for --help
        from virtagent.service.streams import TypedStream  # noqa: PLC0415
        from virtagent.service.stub import stub  # noqa: PLC0415

        stdin = self._keys() if interactive else None
        begun = await stub(Processes, self._guest).run(self._command, env=env, stdin=stdin)
        async with TypedStream.of(begun) as pieces:
            async for piece in pieces:
                await self._show(piece)
        if self._status.code is None:
            complain("the guest did not tell how the program ended; try again")
            self._status.code = 125

    def _keys(self) -> AsyncIterator[bytes]:
        from virtagent.cli.local_terminal import is_terminal  # noqa: PLC0415 - not needed for --help
        from virtagent.cli.standard_input import standard_input  # noqa: PLC0415

        typed = self._command.terminal is not None and is_terminal()
        return standard_input(escape=self.forwarder.give_up if typed else None)

    async def _show(self, piece: ProcessOutput) -> None:
        if piece.started is not None:
            self._pid, self._ticks = piece.started.pid, piece.started.start_ticks
        if piece.exited is not None:
            self._status.code = status_of(piece.exited)
        if self._settings.json:
            await self._out.line(to_json(_said(piece)))
        elif piece.stdout:
            await self._out.write(piece.stdout)
        elif piece.stderr:
            await self._err.write(piece.stderr)

    async def _signal(self, name: str) -> None:
        if self._pid:
            await self._guest.processes.signal(self._pid, name, group=True, start_ticks=self._ticks)

    async def _resize(self) -> None:
        from virtagent.cli.local_terminal import terminal_size  # noqa: PLC0415 - loaded already

        if self._pid:
            await self._guest.processes.resize(self._pid, *terminal_size())


def _said(piece: ProcessOutput) -> dict[str, Any]:
    return {name: value for name in piece.__struct_fields__ if (value := getattr(piece, name))}
