"""Starting a process with its pipes or its terminal."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import termios
from collections.abc import Mapping, Set
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

from virtagent.api.processes import LIMIT_NAMES, Command, StderrMode, StdoutMode
from virtagent.errors import (
    CallError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from virtagent.guest import exec_helper
from virtagent.guest.child import Child, set_size
from virtagent.guest.credentials import Credentials, credentials_of, environment_of, own_credentials
from virtagent.guest.grants import Grant
from virtagent.guest.network_mounts import NetworkMounts
from virtagent.guest.program import cannot_run, check_allowed, check_listed, find_program

__all__ = ["spawn"]


async def spawn(
    command: Command,
    env: Mapping[str, str] | None,
    grant: Grant,
    network: NetworkMounts,
    *,
    stdin: bool,
    stdout: StdoutMode = "pipe",
    stderr: StderrMode = "pipe",
) -> Child:
    """Start a process; it is running when this returns.

    Args:
        command: what to run.
        env: variables that are added.
        grant: what the caller may run.
        network: where looking, or executing, may hang.
        stdin: give it a pipe to read from, instead of /dev/null.
        stdout, stderr: what becomes of what it writes.

    Raises:
        CallError: see ``Processes.run``.
    """
    check_allowed(grant, command, env or {})
    who = await asyncio.to_thread(credentials_of, command.user, command.group) if _named(command) else own_credentials()
    terminal = command.terminal.type if command.terminal is not None else None
    environment = environment_of(who, terminal=terminal, more=env or {}, clear=command.clear_env)
    devices = network.devices()
    if devices:
        place = await network.look(lambda: _find(command, who, environment, grant, devices))
    else:
        place = _find(command, who, environment, grant, devices)
    limits = _limits(command)
    with ExitStack() as ours, ExitStack() as theirs:
        ends = _Ends(command, who, ours, theirs, stdin=stdin, stdout=stdout, stderr=stderr)
        options: dict[str, Any] = {
            "stdin": ends.theirs[0],
            "stdout": ends.theirs[1],
            "stderr": ends.theirs[2],
            "cwd": "/" if place.may_hang else place.cwd,
            "start_new_session": True,
        }
        report = None
        if limits or command.terminal is not None or place.may_hang:
            pid, report = _start_with_helper(command, place, environment, who, limits, options)
        else:
            pid = _start(command, place, environment, who, options)
        ours.pop_all()
    child = Child(
        pid,
        place.program,
        stdin=ends.ours[0],
        stdout=ends.ours[1],
        stderr=ends.ours[2],
        terminal=command.terminal is not None,
        grace=command.grace,
    )
    if report is not None:
        await _until_it_runs(child, report, place)
    if command.timeout is not None:
        child.limit_time(command.timeout)
    return child


def _named(command: Command) -> bool:
    return bool(command.user or command.group)


class _Place(NamedTuple):
    """What is to be run, and where.

    Attributes:
        cwd: the directory.
        program: its absolute path.
        argv: its arguments, with its name first.
        may_hang: one of the two lies on a network filesystem. ``subprocess`` keeps the interpreter from doing anything
            else until the exec is through (vfork(2)), which a thread does not change: the helper waits instead.
    """

    cwd: str
    program: str
    argv: list[str]
    may_hang: bool


def _find(
    command: Command, who: Credentials, environment: Mapping[str, str], grant: Grant, devices: Set[int]
) -> _Place:
    cwd = _directory(command, who)
    program, argv = find_program(command, environment, cwd)
    program = check_listed(grant, program)
    return _Place(cwd, program, argv, bool(devices) and (_is_on(devices, program) or _is_on(devices, cwd)))


def _is_on(devices: Set[int], path: str) -> bool:
    try:
        return os.stat(path).st_dev in devices
    except OSError:
        return True  # it went away meanwhile, as a server's files do


def _directory(command: Command, who: Credentials) -> str:
    cwd = command.cwd or (who.home if command.user else "/")
    if not cwd.startswith("/") or "\0" in cwd:
        raise InvalidArgument(f"the directory {cwd!r} is not an absolute path")
    if not os.path.isdir(cwd):
        if command.cwd:
            raise NotFound(f"{cwd}: the guest has no such directory to run in")
        return "/"  # as login(1) does where there is no home
    return cwd


def _limits(command: Command) -> dict[int, int]:
    """The limits by the resource's number."""
    found = {}
    for name, value in command.limits.items():
        number = getattr(resource, f"RLIMIT_{name.upper()}", None) if name in LIMIT_NAMES else None
        if number is None:
            raise InvalidArgument(f"there is no resource limit {name!r}; there are {', '.join(LIMIT_NAMES)}")
        found[number] = value
    return found


class _Ends:
    """The two ends of what a process reads and writes: ours are closed unless it starts, theirs in any case."""

    def __init__(
        self,
        command: Command,
        who: Credentials,
        ours: ExitStack,
        theirs: ExitStack,
        *,
        stdin: bool,
        stdout: StdoutMode,
        stderr: StderrMode,
    ) -> None:
        self._close_ours, self._close_theirs = ours, theirs
        self.ours: tuple[int | None, int | None, int | None]
        self.theirs: tuple[int, int, int]
        try:
            if command.terminal is not None:
                self._open_terminal(command, who, stdin=stdin)
            else:
                self._open_pipes(stdin=stdin, stdout=stdout, stderr=stderr)
        except OSError as error:
            raise ResourceExhausted(f"the agent cannot open another pipe or terminal: {error.strerror}") from None

    def _open_terminal(self, command: Command, who: Credentials, *, stdin: bool) -> None:
        assert command.terminal is not None
        master, slave = os.openpty()
        self._close_ours.callback(os.close, master)
        self._close_theirs.callback(os.close, slave)
        set_size(master, command.terminal.columns, command.terminal.rows)
        if who.switch:
            with suppress(PermissionError):
                os.fchown(slave, who.uid, -1)  # its programs may open /dev/tty by its name
        os.set_blocking(master, False)
        writing: int | None = None
        if stdin:
            writing = os.dup(master)  # so that readers and writers are watched, and closed, apart
            self._close_ours.callback(os.close, writing)
        self.ours = (writing, master, None)
        self.theirs = (slave, slave, slave)

    def _open_pipes(self, *, stdin: bool, stdout: StdoutMode, stderr: StderrMode) -> None:
        reading, writing = self._pipe(ours=1) if stdin else (subprocess.DEVNULL, None)
        output, written = self._pipe(ours=0) if stdout == "pipe" else (None, subprocess.DEVNULL)
        if stderr == "pipe":
            errors, erring = self._pipe(ours=0)
        else:
            errors, erring = None, (subprocess.STDOUT if stderr == "merge" else subprocess.DEVNULL)
        self.ours = (writing, output, errors)
        self.theirs = (reading, written, erring)

    def _pipe(self, *, ours: int) -> tuple[int, int]:
        pair = os.pipe2(os.O_CLOEXEC)
        self._close_ours.callback(os.close, pair[ours])
        self._close_theirs.callback(os.close, pair[1 - ours])
        os.set_blocking(pair[ours], False)
        return pair


def _start(command: Command, place: _Place, env: dict[str, str], who: Credentials, options: dict[str, Any]) -> int:
    """Start it with ``subprocess`` alone; without ``preexec_fn``, nothing of Python runs between fork and exec."""
    if who.switch:
        options |= {"user": who.uid, "group": who.gid, "extra_groups": who.groups}
    if command.umask is not None:
        options["umask"] = command.umask
    return _popen(place.argv, place.program, env, options)


def _popen(argv: list[str], program: str, env: Mapping[str, str], options: dict[str, Any]) -> int:
    try:
        process = subprocess.Popen(argv, executable=program, env=env, **options)
    except OSError as error:
        raise _refusal(program, options["cwd"], error) from None
    except subprocess.SubprocessError:
        raise PermissionDenied("the agent may not run programs as another user; run it as root") from None
    process.returncode = 0  # `Child` waits for it; Popen is not to, nor to complain that nobody did
    return process.pid


def _refusal(program: str, cwd: str, error: OSError) -> CallError:
    if error.filename == cwd:
        return PermissionDenied(f"{cwd}: the agent may not run anything in this directory: {error.strerror}")
    if error.errno in (11, 12, 24, 23):  # EAGAIN, ENOMEM, EMFILE, ENFILE
        return ResourceExhausted(f"{program}: the guest cannot start another process: {error.strerror}")
    return cannot_run(program, error.errno or 0)


# -- with a terminal, with limits, from a network filesystem ----------------------------------------------------------


def _start_with_helper(
    command: Command,
    place: _Place,
    env: dict[str, str],
    who: Credentials,
    limits: dict[int, int],
    options: dict[str, Any],
) -> tuple[int, int]:
    """Start it through a process that becomes the program (``exec_helper``): its pid, and the pipe of its report."""
    if not sys.executable:
        raise Unavailable(
            "the agent does not know its Python interpreter, which terminals, limits and network filesystems need"
        )
    packed = exec_helper.pack_order(
        place.program,
        place.argv,
        env,
        cwd=place.cwd if place.may_hang else "",
        terminal=termios.TIOCSCTTY if command.terminal is not None else None,
        limits=limits,
        umask=command.umask,
        identity=(who.uid, who.gid, *who.groups) if who.switch else (),
    )
    with ExitStack() as theirs, ExitStack() as ours:
        order = os.memfd_create("virtagent-exec", os.MFD_CLOEXEC)
        theirs.callback(os.close, order)
        with open(order, "wb", closefd=False) as file:
            file.write(packed)
        os.lseek(order, 0, os.SEEK_SET)
        reading, report = os.pipe2(os.O_CLOEXEC)
        ours.callback(os.close, reading)
        theirs.callback(os.close, report)
        own = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        helper = [sys.executable, *exec_helper.INTERPRETER_ARGUMENTS, str(order), str(report)]
        pid = _popen(helper, sys.executable, own, {**options, "pass_fds": (order, report)})
        ours.pop_all()
    return pid, reading


async def _until_it_runs(child: Child, report: int, place: _Place) -> None:
    """Wait for the exec, which closes the helper's pipe.

    Raises:
        CallError: what the helper says that went wrong.
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Future[None] = loop.create_future()
    loop.add_reader(report, lambda: None if told.done() else told.set_result(None))
    try:
        await told
        failure = os.read(report, 64)
        if failure:
            await child.exited
            raise _helper_refusal(place, *failure.split())
    except BaseException:
        child.kill()
        child.close()
        raise
    finally:
        loop.remove_reader(report)
        os.close(report)


def _helper_refusal(place: _Place, stage: bytes, number: bytes) -> CallError:
    reason = os.strerror(int(number))
    match stage:
        case b"exec":
            return cannot_run(place.program, int(number))
        case b"directory":
            return PermissionDenied(f"{place.cwd}: the agent may not run anything in this directory: {reason}")
        case b"user":
            return PermissionDenied(f"the agent may not run programs as another user ({reason}); run it as root")
        case b"limits":
            return FailedPrecondition(f"a resource limit cannot be set: {reason}; give one that the agent may set")
        case _:
            return FailedPrecondition(f"the process cannot get its terminal: {reason}")
