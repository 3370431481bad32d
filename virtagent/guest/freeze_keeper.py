"""The watchdog of a freeze: a process of its own that freezes, and thaws whatever becomes of the agent.

It is started before anything is frozen, locks its memory (mlockall(2)), and from then on neither opens a file nor
imports a module until all is thawed: its descriptors of the mountpoints are open already. It thaws when its deadline
passes, when it is told to, on SIGTERM, and at the end of its standard input: the agent holds the other end, and when
that goes, however it goes, the agent is gone. Hooks are run here, too, so that those of the thaw run in any case.

Standard input brings lines: ``freeze SECONDS``, ``renew SECONDS``, ``thaw``. Standard output gives JSON objects, one a
line. Only the standard library, and little of it: what is loaded here is locked in memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time

TYPE_CHECKING = False  # typing's, whose import costs 2 MiB that would be locked
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = ["FIFREEZE", "FITHAW", "freeze", "main", "run_hook", "thaw"]

FIFREEZE = 0xC0045877
"""_IOWR('X', 119, int) of linux/fs.h."""
FITHAW = 0xC0045878
"""_IOWR('X', 120, int)."""

MCL_CURRENT, MCL_FUTURE = 1, 2
STACK = 256 * 1024
LONGEST_COMMAND = 256
HOOK_OUTPUT = 1024
"""Bytes of a hook's standard error that are told: its last ones."""


def freeze(descriptor: int) -> None:
    """Freeze the filesystem that a descriptor is on; blocks until what is dirty is written. Raises OSError."""
    fcntl.ioctl(descriptor, FIFREEZE, 0)


def thaw(descriptor: int) -> None:
    """Thaw it. Raises OSError; EINVAL: it was not frozen."""
    fcntl.ioctl(descriptor, FITHAW, 0)


def run_hook(path: str, argument: str, timeout: float) -> tuple[int | None, str]:
    """Run a hook; its exit status (None: there is none) and what went wrong.

    It, and all in its process group, are killed when it takes too long. What it leaves behind in the background is not
    waited for, though it holds the pipe.
    """
    try:
        process = subprocess.Popen(
            [path, argument],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        return None, error.strerror or str(error)
    assert process.stderr is not None
    pipe = process.stderr.fileno()
    os.set_blocking(pipe, False)
    exited, told, end = os.pidfd_open(process.pid), b"", time.monotonic() + timeout
    try:
        poll = select.poll()
        poll.register(exited, select.POLLIN)
        poll.register(pipe, select.POLLIN)
        while True:
            ready = [found for found, _ in poll.poll(max(0.0, end - time.monotonic()) * 1000)]
            if pipe in ready:
                piece = _read(pipe)
                told = (told + piece)[-HOOK_OUTPUT:]
                if not piece:
                    poll.unregister(pipe)
            if exited in ready:
                told = (told + _read(pipe))[-HOOK_OUTPUT:]
                break
            if time.monotonic() >= end:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return None, f"took longer than {timeout:g} s"
    finally:
        os.close(exited)
        process.stderr.close()
    status = process.wait()
    if status == 0:
        return 0, ""
    last = told.decode(errors="replace").strip().splitlines()[-1:]
    ended = f"exit status {status}" if status > 0 else f"ended by signal {-status}"
    return status, f"{ended}: {last[0]}" if last else ended


def _read(pipe: int) -> bytes:
    try:
        return os.read(pipe, 65536)
    except BlockingIOError:
        return b""


def lock_memory() -> bool:
    """Keep all of this process in memory, now and later; whether that is permitted."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.mlockall(MCL_CURRENT | MCL_FUTURE) == 0)


class Keeper:
    """One freeze, from its hooks to its hooks.

    Args:
        targets: an open descriptor and the mountpoint of each filesystem, in the order to freeze them in.
        hooks: programs to run, in the order of the freeze.
        hook_timeout: seconds for each.
        strict: a filesystem that cannot be frozen, or is already, is a failure.
        tell: gives the agent an object; must not block, nor fail.
    """

    def __init__(
        self,
        targets: Sequence[tuple[int, str]],
        hooks: Sequence[str],
        hook_timeout: float,
        strict: bool,
        tell: Callable[..., None],
    ) -> None:
        self._targets = targets
        self._hooks = hooks
        self._hook_timeout = hook_timeout
        self._strict = strict
        self._tell = tell
        self._lock = threading.Lock()
        self._ending = False
        self._frozen: list[int] = []
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._begin = threading.Event()
        self._freezer = threading.Thread(target=self._freeze_all, name="freezer")
        self._commands = b""
        self._deadline = 0.0
        self._why = ""

    def prepare(self) -> None:
        """Make all that will be needed, before the memory is locked."""
        threading.stack_size(STACK)
        self._freezer.start()
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(each, lambda *_: self._end("signal"))
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def run(self) -> None:
        """Serve one lease to its end."""
        ran = 0
        try:
            while not self._why and not self._deadline:
                self._wait(None)
            for path in self._hooks if not self._why else ():
                ran += 1
                if not self._hook(path, "freeze"):
                    self._end("hook")
                    break
            else:
                self._wait(0)  # while hooks ran, nobody looked whether the agent is still there
                if not self._why:
                    self._hold()
        finally:
            self._thaw_all()
            for path in reversed(self._hooks[:ran]):
                self._hook(path, "thaw")
            self._tell(event="end", why=self._why or "failed")

    def _hold(self) -> None:
        # The time that the lease has counts from here: hooks have bounds of their own.
        seconds, self._deadline = self._deadline, time.monotonic() + self._deadline
        self._tell(event="begin", seconds=seconds)
        self._begin.set()
        while not self._why:
            left = self._deadline - time.monotonic()
            if left <= 0:
                self._end("deadline")
            else:
                self._wait(left)

    def _end(self, why: str) -> None:
        self._why = self._why or why

    # -- commands ------------------------------------------------------------------------------------------------

    def _wait(self, seconds: float | None) -> None:
        """Wait for a command, the freezer, a signal or the agent's end."""
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(self._wake_reader, select.POLLIN)
        for found, _ in poll.poll(None if seconds is None else min(seconds, 3600.0) * 1000 + 1):
            if found != 0:
                _read(self._wake_reader)
                continue
            piece = os.read(0, 4096)
            if not piece:
                self._end("agent")
                return
            *lines, self._commands = (self._commands + piece).split(b"\n")
            self._commands = self._commands[:LONGEST_COMMAND]
            for line in lines:
                self._obey(line)

    def _obey(self, line: bytes) -> None:
        word, _, number = line.partition(b" ")
        if word == b"freeze":
            self._deadline = float(number)
        elif word == b"renew":
            self._deadline = time.monotonic() + float(number)
            self._tell(event="renewed", seconds=float(number))
        elif word == b"thaw":
            self._end("thaw")

    # -- filesystems ---------------------------------------------------------------------------------------------

    def _freeze_all(self) -> None:
        """The freezer's thread: FIFREEZE may block for long, and what is frozen must be thawed in time meanwhile."""
        self._begin.wait()
        failed = False
        for index, (descriptor, _) in enumerate(self._targets):
            if self._ending:
                return
            self._tell(event="freezing", index=index)
            try:
                freeze(descriptor)
            except OSError as error:
                passed = not self._strict and error.errno in (errno.EOPNOTSUPP, errno.EBUSY, errno.ENOTTY)
                self._tell(event="not-frozen", index=index, errno=error.errno)
                if passed:
                    continue
                failed = True
                break
            kept = self._keep(index)
            self._tell(event="frozen", index=index)
            if not kept:
                self._thaw(index)
        if failed or not self._frozen:
            self._end("failed")
        else:
            self._tell(event="held")
        os.write(self._wake_writer, b"\0")

    def _keep(self, index: int) -> bool:
        """This one is frozen; False: too late, all are being thawed."""
        with self._lock:
            if not self._ending:
                self._frozen.append(index)
            return not self._ending

    def _thaw_all(self) -> None:
        with self._lock:
            self._ending = True
            frozen, self._frozen = self._frozen, []
        for index in reversed(frozen):
            self._thaw(index)
        self._begin.set()
        self._freezer.join()

    def _thaw(self, index: int) -> None:
        try:
            thaw(self._targets[index][0])
        except OSError as error:
            self._tell(event="not-thawed", index=index, errno=error.errno)
        else:
            self._tell(event="thawed", index=index)

    def _hook(self, path: str, argument: str) -> bool:
        status, error = run_hook(path, argument, self._hook_timeout)
        self._tell(event="hook", path=path, argument=argument, status=status, error=error)
        return status == 0


def tell(**fields: Any) -> None:
    """Tell the agent. One that is gone, or too slow to empty a pipe of 64 KiB, is not waited for."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(fields).encode() + b"\n")


def main() -> None:
    """The process: its one argument is a JSON object with the arguments of :class:`Keeper`."""
    told = json.loads(sys.argv[1])
    os.set_blocking(1, False)
    keeper = Keeper(
        [(descriptor, path) for descriptor, path in told["targets"]],
        told["hooks"],
        told["hook_timeout"],
        told["strict"],
        tell,
    )
    # memory that is locked makes a process a likely victim when memory is short
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("-1000")
    keeper.prepare()
    tell(event="ready", locked=lock_memory())
    keeper.run()
    with contextlib.suppress(OSError):
        os.unlink(told["record"])  # else the next agent would think that there is something left to do
    os._exit(0)
