"""Processes of a guest, as host tooling runs them."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from typing import Any, TypedDict, Unpack, cast

from virtagent.api.processes import (
    DEFAULT_CAPTURE,
    Captured,
    Command,
    Processes,
    ProcessInfo,
    ProcessOutput,
    StderrMode,
    StdoutMode,
    Terminal,
)
from virtagent.errors import UsageError
from virtagent.host.process import GuestProcess, source_of
from virtagent.peer.caller import Caller
from virtagent.service.stub import stub

__all__ = ["CommandOptions", "GuestProcesses", "command_of"]

MARGIN = 15.0
"""Seconds by which a call's deadline is later than its process's: the guest is to end it, and to tell how it went."""


class CommandOptions(TypedDict, total=False):
    """How a program is run: the fields of :class:`~virtagent.api.processes.Command` beside ``argv``."""

    shell: str
    cwd: str
    clear_env: bool
    user: str
    group: str
    umask: int | None
    limits: dict[str, int]
    timeout: float | None
    grace: float
    terminal: Terminal | None


def command_of(argv: Sequence[str], options: CommandOptions) -> Command:
    """The command that arguments of :meth:`GuestProcesses.run` mean.

    Raises:
        UsageError: a line where a list was expected.
    """
    if isinstance(argv, str):
        raise UsageError("argv is a list, such as ['ls', '-l']; for a shell's line, give shell='ls -l | wc'")
    return Command(argv=list(argv), **options)


class GuestProcesses:
    """Runs programs in the guest."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub = stub(Processes, caller)

    def run(
        self,
        argv: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        stdin: bool | bytes | AsyncIterable[bytes] | None = None,
        stdout: StdoutMode = "pipe",
        stderr: StderrMode = "pipe",
        **options: Unpack[CommandOptions],
    ) -> GuestProcess:
        """A process with streams: ``async with guest.processes.run(["sort"], stdin=True) as proc``.

        Args:
            argv: the program and its arguments; or () with ``shell=``, a line for /bin/sh.
            env: variables that are added to its environment.
            stdin: True: ``proc.stdin`` writes to it; bytes or an async iterable: that is its input; None: /dev/null.
            stdout, stderr: see :meth:`virtagent.api.processes.Processes.run`, as for the errors of starting it.
            options: cwd, user, timeout and the like: see :class:`CommandOptions`.

        Raises:
            UsageError: argv is text.
        """
        command = command_of(argv, options)
        writer, source = source_of(stdin)

        async def begin() -> AsyncIterator[ProcessOutput]:
            variables = None if env is None else dict(env)
            return await self._stub.run(command, env=variables, stdin=source, stdout=stdout, stderr=stderr)

        return GuestProcess(begin, self._stub, writer)

    async def capture(
        self,
        argv: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        input: bytes = b"",
        stdout: StdoutMode = "pipe",
        stderr: StderrMode = "pipe",
        limit: int = DEFAULT_CAPTURE,
        **options: Unpack[CommandOptions],
    ) -> Captured:
        """Run a short job to its end, in one round trip; see :meth:`virtagent.api.processes.Processes.capture`.

        With ``timeout``, the call's deadline is later than that, so that the guest tells what there was; without, the
        job has as long as any call, and is ended when that has passed.
        """
        command = command_of(argv, options)
        variables = None if env is None else dict(env)
        return await self._patient(command).capture(
            command, env=variables, input=input, stdout=stdout, stderr=stderr, limit=limit
        )

    def _patient(self, command: Command) -> Processes:
        with_options: Any = getattr(self._caller, "with_options", None)
        if command.timeout is None or with_options is None:
            return self._stub
        return stub(Processes, cast(Caller, with_options(deadline=command.timeout + command.grace + MARGIN)))

    def list(self) -> AsyncIterator[ProcessInfo]:
        """What runs; see :meth:`virtagent.api.processes.Processes.list`."""
        return self._stub.list()

    async def signal(
        self, pid: int, signal: str = "SIGTERM", *, group: bool = False, start_ticks: int | None = None
    ) -> None:
        """Send a signal; see :meth:`virtagent.api.processes.Processes.signal`."""
        await self._stub.signal(pid, signal, group=group, start_ticks=start_ticks)

    async def resize(self, pid: int, columns: int, rows: int) -> None:
        """Change the size of a terminal; see :meth:`virtagent.api.processes.Processes.resize`."""
        await self._stub.resize(pid, columns, rows)

    def __repr__(self) -> str:
        return f"<processes of {self._caller!r}>"
