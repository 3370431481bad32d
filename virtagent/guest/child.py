"""A process that the agent started: its end, its signals, its terminal."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import resource
import signal
import struct
import termios
import threading
from collections.abc import Callable
from contextlib import suppress

from virtagent.api.processes import ProcessExited, ProcessStarted
from virtagent.errors import FailedPrecondition, NotFound
from virtagent.guest.proc_stat import read_stat
from virtagent.guest.session_members import groups_of_session
from virtagent.guest.signals import signal_name

__all__ = ["Child", "set_size"]


class Child:
    """Leads a session and a process group of its own. Reaped by itself; whoever made it closes it.

    Args:
        pid: the process, which has not been waited for.
        program: the absolute path of what it runs.
        stdin, stdout, stderr: our ends of its pipes, non-blocking; None: it has none. With a terminal, ``stdin`` and
            ``stdout`` are descriptors of its master.
        terminal: it has a terminal.
        grace: seconds from the first signal to SIGKILL, when it is to end.

    Attributes:
        exited: set when the process has ended and was reaped.
        descriptors: those of its pipes that are open here, by name.
    """

    def __init__(
        self,
        pid: int,
        program: str,
        *,
        stdin: int | None,
        stdout: int | None,
        stderr: int | None,
        terminal: bool,
        grace: float,
    ) -> None:
        self.pid = pid
        self._program = program
        self._start_ticks: int | None = None
        self.terminal = terminal
        self.grace = grace
        pipes = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
        self.descriptors = {name: each for name, each in pipes.items() if each is not None}
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[ProcessExited] = self._loop.create_future()
        self._begun = self._loop.time()
        self._timed_out = False
        self._timer: asyncio.TimerHandle | None = None
        self._killer: asyncio.TimerHandle | None = None
        self._watch()

    @property
    def started(self) -> ProcessStarted:
        """What is told of its start."""
        return ProcessStarted(pid=self.pid, start_ticks=self.start_ticks, program=self._program)

    @property
    def start_ticks(self) -> int:
        """When it began (proc_pid_stat(5)). Not looked up at once: that waits until the exec is through."""
        if self._start_ticks is None:
            stat = read_stat(self.pid)
            self._start_ticks = 0 if stat is None else stat.start_ticks
        return self._start_ticks

    # -- its end -------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EPERM):  # before Linux 5.3, or a seccomp filter
                raise
            threading.Thread(target=self._wait_in_thread, name=f"virtagent-wait-{self.pid}", daemon=True).start()
            return
        self._loop.add_reader(descriptor, self._on_end, descriptor)

    def _on_end(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        self._reap()

    def _wait_in_thread(self) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with suppress(RuntimeError):  # the loop is closed: the agent has gone
            self._loop.call_soon_threadsafe(self._reap)

    def _reap(self) -> None:
        if self.exited.done():
            return
        if self._timer is not None:
            self._timer.cancel()
        try:
            _, status, used = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:  # somebody else's code in this process waits for all children
            status, used = 0xFF00, resource.getrusage(resource.RUSAGE_CHILDREN)
        killed = os.WIFSIGNALED(status)
        number = os.WTERMSIG(status) if killed else 0
        self.exited.set_result(
            ProcessExited(
                code=None if killed else os.WEXITSTATUS(status),
                signal=signal_name(number) if killed else "",
                signal_number=number,
                core_dumped=os.WCOREDUMP(status),
                timed_out=self._timed_out,
                duration=self._loop.time() - self._begun,
                user_time=used.ru_utime,
                system_time=used.ru_stime,
                max_rss=used.ru_maxrss * 1024,
            )
        )

    def limit_time(self, seconds: float) -> None:
        """End it when so much time has passed."""
        self._timer = self._loop.call_later(seconds, self._time_out)

    def _time_out(self) -> None:
        self._timed_out = True
        self.terminate()

    def terminate(self) -> None:
        """End all processes of its session: a signal now, and SIGKILL when the grace has passed. Safe to call twice."""
        if self._killer is None:
            self._signal_all(signal.SIGHUP if self.terminal else signal.SIGTERM)
            self._killer = self._loop.call_later(self.grace, self.kill)

    def kill(self) -> None:
        """SIGKILL for all processes of its session."""
        if self._killer is not None:
            self._killer.cancel()
        self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: int) -> None:
        done: set[int] = set()
        start_ticks = None
        if not self.exited.done():
            _signal_group(self.pid, number)
            done, start_ticks = {self.pid}, self.start_ticks
        arguments = self.pid, start_ticks, number, done
        try:  # in a thread, since there may be thousands of processes to look at
            self._loop.run_in_executor(None, _signal_session, *arguments)
        except RuntimeError:  # the agent is about to end, and has no threads any more
            _signal_session(*arguments)

    def call_when_ended(self, function: Callable[[], None]) -> None:
        """Have something called when it has ended."""
        self.exited.add_done_callback(lambda _: function())

    # -- what its user does --------------------------------------------------------------------------------------

    def signal(self, number: int) -> None:
        """Send a signal to its process group.

        Raises:
            NotFound: it has ended.
        """
        if self.exited.done():
            raise NotFound(f"process {self.pid} has ended")
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of its terminal (TIOCSWINSZ); the foreground process group gets SIGWINCH.

        Raises:
            FailedPrecondition: it has no terminal.
        """
        descriptor = self.descriptors.get("stdout", self.descriptors.get("stdin"))
        if not self.terminal or descriptor is None:
            raise FailedPrecondition(f"process {self.pid} has no terminal; start it with one")
        set_size(descriptor, columns, rows)

    # -- descriptors ---------------------------------------------------------------------------------------------

    def close(self, *names: str) -> None:
        """Close our ends of its pipes, by default all. What waits for one of them must not wait any more."""
        for name in names or tuple(self.descriptors):
            descriptor = self.descriptors.pop(name, None)
            if descriptor is not None:
                self._loop.remove_reader(descriptor)
                self._loop.remove_writer(descriptor)
                os.close(descriptor)


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        if number == signal.SIGHUP:
            os.killpg(group, signal.SIGCONT)  # what is stopped cannot hang up


def _signal_session(session: int, start_ticks: int | None, number: int, done: set[int]) -> None:
    for group in groups_of_session(session, start_ticks) - done:
        _signal_group(group, number)


def set_size(terminal: int, columns: int, rows: int) -> None:
    """Set the size of a terminal, in characters."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
