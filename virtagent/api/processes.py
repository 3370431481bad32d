"""Processes of the guest: run a program with its streams, or capture what it says; what runs; signals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from virtagent.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = [
    "DEFAULT_CAPTURE",
    "DEFAULT_GRACE",
    "LIMIT_NAMES",
    "MOST_CAPTURED",
    "MOST_INPUT",
    "Argv",
    "Captured",
    "Command",
    "Environment",
    "ProcessExited",
    "ProcessInfo",
    "ProcessOutput",
    "ProcessStarted",
    "Processes",
    "Signal",
    "StderrMode",
    "StdoutMode",
    "Terminal",
]

DEFAULT_CAPTURE = 256 * 1024
"""Bytes of each of stdout and stderr that ``capture`` answers with, if the caller does not say."""

MOST_CAPTURED = 4 * 1024 * 1024
"""The most that it can be asked for; a message has 16 MiB on a socket, and 1 MiB on a serial line."""

MOST_INPUT = 1024 * 1024
"""Bytes of ``capture``'s input."""

DEFAULT_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""

LIMIT_NAMES = (
    "as", "core", "cpu", "data", "fsize", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime",
    "sigpending", "stack",
)  # fmt: skip
"""The resource limits of prlimit(2), without ``RLIMIT_`` and in lower case."""

_Text = Annotated[str, msgspec.Meta(max_length=131072)]
"""The kernel takes no longer argument (MAX_ARG_STRLEN)."""

Argv = Annotated[list[_Text], msgspec.Meta(max_length=4096)]
"""The program and its arguments. What is not UTF-8 is surrogate escapes (rule V1)."""

Environment = Annotated[
    dict[Annotated[str, msgspec.Meta(min_length=1, max_length=4096)], _Text], msgspec.Meta(max_length=4096)
]
"""Variables of the environment by name."""

Signal = Annotated[str, msgspec.Meta(min_length=1, max_length=16)]
"""A signal's name as kill(1) takes it, such as "SIGTERM", "TERM" or "15"; names are the same on every architecture."""

Pid = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]

Seconds = Annotated[float, msgspec.Meta(gt=0, le=365 * 86400)]

StdoutMode = Literal["pipe", "discard"]
StderrMode = Literal["pipe", "merge", "discard"]

_Who = Annotated[str, msgspec.Meta(max_length=256)]
_Limit = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]
_Cells = Annotated[int, msgspec.Meta(ge=1, le=10000)]


class Terminal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pseudo-terminal (pty(7)) for a process: its stdin, stdout and stderr, and its controlling terminal.

    Attributes:
        columns, rows: its size in characters.
        type: the variable TERM.
    """

    columns: _Cells = 80
    rows: _Cells = 24
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9._+-]+$")] = "xterm-256color"


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to run, and as whom. One of ``argv`` and ``shell`` must be given.

    Attributes:
        argv: the program and its arguments. No shell reads them. A name without "/" is looked for in PATH.
        shell: a line for ``/bin/sh -c``.
        cwd: an absolute path; "": the user's home if a user is named, else "/".
        clear_env: ``env`` is the whole environment, instead of being added to a small one (PATH, HOME, USER, LOGNAME,
            SHELL, LANG, TZ, and TERM with a terminal).
        user: a name or a number; "": who the agent is. Groups are those of initgroups(3).
        group: a name or a number; "": the user's own.
        umask: None: the agent's.
        limits: resource limits by name (:data:`LIMIT_NAMES`), soft and hard at once, in the units of setrlimit(2); -1
            is unlimited.
        timeout: seconds after which the process group gets SIGTERM, and SIGKILL when ``grace`` has passed.
        grace: seconds between SIGTERM (SIGHUP, with a terminal) and SIGKILL, however the process is ended.
        terminal: give it a terminal; stdout and stderr are then one.
    """

    argv: Argv = []
    shell: _Text = ""
    cwd: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    clear_env: bool = False
    user: _Who = ""
    group: _Who = ""
    umask: Annotated[int, msgspec.Meta(ge=0, le=0o777)] | None = None
    limits: Annotated[dict[str, _Limit], msgspec.Meta(max_length=32)] = {}
    timeout: Seconds | None = None
    grace: Annotated[float, msgspec.Meta(ge=0, le=600)] = DEFAULT_GRACE
    terminal: Terminal | None = None


class ProcessStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A process has begun.

    Attributes:
        pid: its process id, and that of its process group and session.
        start_ticks: when it began, in the kernel's ticks since boot; with the pid, it names one process of this boot.
        program: the absolute path of what was run.
    """

    pid: int
    start_ticks: int
    program: str


class ProcessExited(msgspec.Struct, frozen=True, kw_only=True):
    """A process has ended.

    Attributes:
        code: its exit status; None: a signal ended it.
        signal: that signal's name, such as "SIGKILL"; "": none.
        signal_number: its number in the guest; 0: none.
        core_dumped: it left a core file.
        timed_out: it was ended since its ``timeout`` had passed.
        held: another process, which outlives it, still had its output open. What that writes is not told any more.
        duration: seconds.
        user_time, system_time: CPU seconds of the process and of its children that it waited for.
        max_rss: the most memory that it had resident, in bytes; never less than the agent has, whose memory counts
            until the exec.
    """

    code: int | None
    signal: str = ""
    signal_number: int = 0
    core_dumped: bool = False
    timed_out: bool = False
    held: bool = False
    duration: float = 0.0
    user_time: float = 0.0
    system_time: float = 0.0
    max_rss: int = 0

    @property
    def returncode(self) -> int:
        """The exit status; minus the signal's number where one ended it, as Python's ``subprocess`` has it."""
        return -self.signal_number if self.code is None else self.code


class ProcessOutput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One piece of what there is to tell of a process that runs; the first tells its start, the last its end.

    Attributes:
        stdout, stderr: bytes that it wrote, in the order in which the agent read them.
        started: the first piece has this.
        exited: the last piece has this.
    """

    stdout: bytes = b""
    stderr: bytes = b""
    started: ProcessStarted | None = None
    exited: ProcessExited | None = None


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """What a process said, and how it ended.

    Attributes:
        exited: how it ended.
        stdout, stderr: the first bytes that it wrote, as many as were asked for.
        stdout_size, stderr_size: how many bytes it wrote; what is beyond the limit was read, counted and dropped.
    """

    exited: ProcessExited
    stdout: bytes = b""
    stderr: bytes = b""
    stdout_size: int = 0
    stderr_size: int = 0

    @property
    def truncated(self) -> bool:
        """Whether there was more than is here."""
        return self.stdout_size > len(self.stdout) or self.stderr_size > len(self.stderr)

    @property
    def returncode(self) -> int:
        """As :attr:`ProcessExited.returncode`."""
        return self.exited.returncode


class ProcessInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the guest (proc_pid_stat(5)).

    Attributes:
        user: the owner's name, or number where it has none.
        state: "running", "sleeping", "disk-sleep", "stopped", "traced", "zombie", "dead" or "idle".
        name: of the program, at most 15 characters.
        arguments: its command line; None: not shown to this caller, or a thread of the kernel. Long ones are cut.
        cpu_time: seconds of user and system time.
        rss: resident memory, in bytes.
        started: when it began, by the guest's clock.
        start_ticks: see :class:`ProcessStarted`.
        terminal: such as "pts/0"; "": none.
    """

    pid: int
    ppid: int
    user: str
    uid: int
    state: str
    name: str
    arguments: list[str] | None
    cpu_time: float
    rss: int
    started: datetime
    start_ticks: int
    threads: int = 1
    nice: int = 0
    terminal: str = ""


_ERRORS = (NotFound, PermissionDenied, InvalidArgument, FailedPrecondition, ResourceExhausted, Unavailable)


class Processes(Service, name="processes", interface=True):
    """Processes of the guest."""

    @method(role="exec", since="0.1.0", errors=_ERRORS, secrets=("env",))
    async def run(
        self,
        command: Command,
        *,
        env: Environment | None = None,
        stdin: AsyncIterator[bytes] | None = None,
        stdout: StdoutMode = "pipe",
        stderr: StderrMode = "pipe",
    ) -> AsyncIterator[ProcessOutput]:
        """Run a program in a session and process group of its own, with what it reads and writes as streams.

        Nothing is read from it that the reader has not asked for: a process that writes faster is stopped by its pipe.
        Once it has ended, what lies in its pipes is told, then what still comes within a quarter of a second; whoever
        else holds them (a daemon that it started) does not keep this from ending.

        A reader that leaves, a lost session and a stopping agent end the processes of its session: SIGTERM (SIGHUP,
        with a terminal), and SIGKILL when ``command.grace`` has passed.

        Args:
            command: what to run.
            env: variables of the environment, added to those that a process gets anyway.
            stdin: what it reads; by default /dev/null. Where it ends, so does its stdin (a terminal gets Ctrl-D).
            stdout: whether to tell what it writes.
            stderr: "merge" is ``2>&1``.

        Raises:
            NotFound: there is no such program, directory, user or group.
            PermissionDenied: it cannot be executed, or this caller may not run it.
            InvalidArgument: it is no program, or an argument cannot be.
            FailedPrecondition: a limit beyond what the agent may set.
            ResourceExhausted: this caller runs as many processes as it may, or the guest has no more.
            Unavailable: the agent is about to go.
        """
        raise NotImplementedError

    @method(role="exec", since="0.1.0", errors=_ERRORS, secrets=("env", "input"))
    async def capture(
        self,
        command: Command,
        *,
        env: Environment | None = None,
        input: Annotated[bytes, msgspec.Meta(max_length=MOST_INPUT)] = b"",
        stdout: StdoutMode = "pipe",
        stderr: StderrMode = "pipe",
        limit: Annotated[int, msgspec.Meta(ge=0, le=MOST_CAPTURED)] = DEFAULT_CAPTURE,
    ) -> Captured:
        """Run a short job to its end: one call, one answer. See :meth:`run`, also for the errors.

        A call that is cancelled, or whose deadline passes, ends the processes of its session.

        Args:
            command: what to run.
            env: variables of the environment, added to those that a process gets anyway.
            input: its stdin.
            stdout: whether to keep what it writes.
            stderr: "merge" is ``2>&1``.
            limit: bytes of each of stdout and stderr to answer with.
        """
        raise NotImplementedError

    @method(role="observe", since="0.1.0", idempotent=True)
    def list(self) -> AsyncIterator[ProcessInfo]:
        """What runs, in the order of process ids.

        Arguments may hold secrets: only those are shown them who may run programs themselves (role "exec" or "admin").
        """
        raise NotImplementedError

    @method(role="exec", since="0.1.0", errors=(NotFound, PermissionDenied, InvalidArgument))
    async def signal(
        self,
        pid: Pid,
        signal: Signal = "SIGTERM",
        *,
        group: bool = False,
        start_ticks: Annotated[int, msgspec.Meta(ge=0)] | None = None,
    ) -> None:
        """Send a signal to a process, or to a process group.

        Args:
            pid: the process.
            signal: its name.
            group: send it to each process of the group that this one leads.
            start_ticks: only if the process began then; process ids are used again.

        Raises:
            NotFound: there is no such process (any more).
            PermissionDenied: the agent may not signal it; or this caller may run certain programs only, and it was not
                this caller's :meth:`run` that started it.
            InvalidArgument: no such signal, or the agent's own process.
        """
        raise NotImplementedError

    @method(role="exec", since="0.1.0", errors=(NotFound, FailedPrecondition))
    async def resize(self, pid: Pid, columns: _Cells, rows: _Cells) -> None:
        """Change the size of the terminal of a process that this caller runs; its foreground group gets SIGWINCH.

        Raises:
            NotFound: this caller runs no such process (any more).
            FailedPrecondition: it has no terminal.
        """
        raise NotImplementedError
