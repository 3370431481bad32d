"""The service ``processes``."""

from __future__ import annotations

import asyncio
import os
import signal as signals
from collections.abc import AsyncIterator, Iterable

from msgspec import structs

from virtagent.api.processes import (
    DEFAULT_CAPTURE,
    Captured,
    Command,
    Environment,
    Processes,
    ProcessExited,
    ProcessInfo,
    ProcessOutput,
    ProcessStarted,
    Signal,
    StderrMode,
    StdoutMode,
)
from virtagent.errors import InvalidArgument, NotFound, PermissionDenied
from virtagent.guest.child import Child
from virtagent.guest.child_input import chunks_of, feed_until_end
from virtagent.guest.child_output import ChildOutput
from virtagent.guest.children import Children
from virtagent.guest.os_errors import call_error
from virtagent.guest.proc_stat import read_stat
from virtagent.guest.resources import GuestService, Resources
from virtagent.guest.signals import signal_number
from virtagent.peer.context import Context

__all__ = ["ProcessesService", "RunningOutput"]


class ProcessesService(GuestService, Processes):
    """Runs programs with the rights of the agent, or of whom the caller names."""

    def __init__(self, resources: Resources | None = None) -> None:
        super().__init__(resources)
        self._children = Children()
        self._feeders: set[asyncio.Task[None]] = set()
        self.resources.on_stop(self._children.stop)

    async def run(
        self,
        command: Command,
        *,
        env: Environment | None = None,
        stdin: AsyncIterator[bytes] | None = None,
        stdout: StdoutMode = "pipe",
        stderr: StderrMode = "pipe",
        ctx: Context | None = None,
    ) -> AsyncIterator[ProcessOutput]:
        child = await self._start(command, env, ctx, stdin=stdin is not None, stdout=stdout, stderr=stderr)
        output = RunningOutput(child)
        if stdin is not None:
            self._feed(child, stdin)
            try:
                await asyncio.sleep(0)  # the feeder takes the stream, which is nobody's otherwise (rule T11)
            except asyncio.CancelledError:
                await output.aclose()
                raise
        return output

    async def capture(
        self,
        command: Command,
        *,
        env: Environment | None = None,
        input: bytes = b"",
        stdout: StdoutMode = "pipe",
        stderr: StderrMode = "pipe",
        limit: int = DEFAULT_CAPTURE,
        ctx: Context | None = None,
    ) -> Captured:
        child = await self._start(command, env, ctx, stdin=bool(input), stdout=stdout, stderr=stderr)
        try:
            if input:
                self._feed(child, chunks_of(input))
            return await _capture(child, limit)
        except BaseException:
            child.terminate()
            raise
        finally:
            child.close()

    async def _start(
        self,
        command: Command,
        env: Environment | None,
        ctx: Context | None,
        *,
        stdin: bool,
        stdout: StdoutMode,
        stderr: StderrMode,
    ) -> Child:
        grant = self.resources.grants.of(ctx)
        return await self._children.start(
            command,
            env,
            grant,
            _owner(ctx),
            held=self.resources.grants.hold(ctx, "processes", grant.processes),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )

    def _feed(self, child: Child, source: AsyncIterator[bytes]) -> None:
        task = asyncio.create_task(feed_until_end(child, source), name=f"stdin of {child.pid}")
        self._feeders.add(task)
        task.add_done_callback(self._feeders.discard)

    def list(self, *, ctx: Context | None = None) -> AsyncIterator[ProcessInfo]:
        # A plain `def`: it runs in a thread, as reading the files of thousands of processes takes a while.
        from virtagent.guest.process_list import list_processes  # noqa: PLC0415 - few hosts ask for it

        roles = self.resources.grants.of(ctx).roles
        return _Given(tuple(list_processes(arguments=bool(roles & {"exec", "admin"}))))

    async def signal(
        self,
        pid: int,
        signal: Signal = "SIGTERM",
        *,
        group: bool = False,
        start_ticks: int | None = None,
        ctx: Context | None = None,
    ) -> None:
        number = signal_number(signal)
        child = self._children.find(pid, _owner(ctx))
        if child is not None and start_ticks in (None, child.start_ticks):
            if group:
                child.signal(number)
                return
        elif self.resources.grants.of(ctx).commands is not None:
            raise PermissionDenied(f"process {pid}: this caller may signal only those that it runs")
        _signal_any(pid, number, group=group, start_ticks=start_ticks)

    async def resize(self, pid: int, columns: int, rows: int, *, ctx: Context | None = None) -> None:
        child = self._children.find(pid, _owner(ctx))
        if child is None:
            raise NotFound(f"this caller runs no process {pid} (any more)")
        child.resize(columns, rows)


def _owner(ctx: Context | None) -> object:
    return None if ctx is None else ctx.peer


async def _capture(child: Child, limit: int) -> Captured:
    output = ChildOutput(child)
    kept: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    sizes = {"stdout": 0, "stderr": 0}
    while (piece := await output.next()) is not None:
        name, data = piece
        room = limit - sizes[name]
        if room > 0:
            kept[name].append(data[:room])
        sizes[name] += len(data)
    return Captured(
        exited=_with_held(await asyncio.shield(child.exited), output),
        stdout=b"".join(kept["stdout"]),
        stderr=b"".join(kept["stderr"]),
        stdout_size=sizes["stdout"],
        stderr_size=sizes["stderr"],
    )


def _with_held(exited: ProcessExited, output: ChildOutput) -> ProcessExited:
    return structs.replace(exited, held=True) if output.held else exited


def _signal_any(pid: int, number: int, *, group: bool, start_ticks: int | None) -> None:
    """Signal a process which the agent may not have started.

    Raises:
        NotFound: there is none, or it is another one by now.
        PermissionDenied: the system says so.
        InvalidArgument: it is the agent.
    """
    if pid == os.getpid() or (group and pid == os.getpgrp()):
        raise InvalidArgument("this is the agent's own process; stop its service instead")
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        raise NotFound(f"the guest has no process {pid} (any more)") from None
    except OSError as error:  # before Linux 5.3
        raise call_error(f"process {pid}", error) from None
    try:
        stat = read_stat(pid)  # of the process that the descriptor names, or it has ended and the signal fails
        if stat is None or start_ticks not in (None, stat.start_ticks):
            raise NotFound(f"the guest has no process {pid} that began then; another one may have its number now")
        if group:
            os.killpg(pid, number)
        else:
            signals.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        what = (
            f"process group {pid}; without group, the signal goes to the process alone" if group else f"process {pid}"
        )
        raise NotFound(f"the guest has no {what}") from None
    except PermissionError:
        raise PermissionDenied(f"process {pid}: the agent may not signal it; run the agent as root") from None
    finally:
        os.close(descriptor)


class _Given(AsyncIterator[ProcessInfo]):
    """Items at hand as a stream."""

    def __init__(self, items: Iterable[ProcessInfo]) -> None:
        self._items = iter(items)

    async def __anext__(self) -> ProcessInfo:
        try:
            return next(self._items)
        except StopIteration:
            raise StopAsyncIteration from None


class RunningOutput(AsyncIterator[ProcessOutput]):
    """What a process says, from its start to its end. Whoever stops before the end, however, ends the process."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._output = ChildOutput(child)
        self._loop = asyncio.get_running_loop()
        self._started: ProcessStarted | None = child.started  # before it can have been reaped
        self._over = False

    async def __anext__(self) -> ProcessOutput:
        if self._started is not None:
            started, self._started = self._started, None
            return ProcessOutput(started=started)
        piece = await self._output.next()
        if piece is not None:
            name, data = piece
            return ProcessOutput(stdout=data) if name == "stdout" else ProcessOutput(stderr=data)
        exited = await asyncio.shield(self._child.exited)
        if self._over:
            raise StopAsyncIteration
        self._over = True
        return ProcessOutput(exited=_with_held(exited, self._output))

    async def aclose(self) -> None:
        """End the process, unless it has ended and this was told."""
        self._end()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._child.terminate()
        self._child.close()

    def __del__(self) -> None:
        # A stream that could not be opened is never closed; and it may be dropped in any thread.
        if not self._over and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._child.terminate)
            self._loop.call_soon_threadsafe(self._child.close)
