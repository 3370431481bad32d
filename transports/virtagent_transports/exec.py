"""``exec:COMMAND ARGUMENTS``: a child process's standard input and output, ``exec:ssh host virtagentd --stdio``.

Everything behind the colon is split like a shell would (quotes, backslashes), but there is no shell: no variables, no
pipes, no ``?`` options. The child's standard error is ours.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shlex
import signal
import socket
import subprocess
from contextlib import suppress

from virtagent.errors import ChannelUnavailable, UrlError

from .facts import ChannelFacts, ProtocolFactory
from .fd_transport import FdTransport
from .holders import access_remedy, reason
from .sockets import Connected
from .url import ChannelUrl

__all__ = ["OPTIONS", "RAW_TARGET", "ExecTransport", "check", "connect"]

OPTIONS: frozenset[str] = frozenset()
RAW_TARGET = True

TERMINATE_AFTER = 2.0
KILL_AFTER = 4.0
"""Seconds after the end of the child's input: ssh needs a moment to say goodbye, and a stuck one must not stay."""


def check(url: ChannelUrl) -> None:
    """Refuse an empty command and unbalanced quotes."""
    try:
        words = shlex.split(url.target)
    except ValueError as error:
        raise UrlError(f"exec:{url.target!r} cannot be split into words: {error}; quote it as for a shell") from error
    if not words:
        raise UrlError("exec: needs a command: write exec:ssh host virtagentd --stdio")


async def connect(url: ChannelUrl, protocol_factory: ProtocolFactory) -> Connected:
    """Start the command; see :func:`virtagent_transports.connect`.

    A command that fails later ends the connection with a ChannelUnavailable that tells its exit status.

    Raises:
        ChannelUnavailable: the command is not there, or may not be run.
    """
    protocol = protocol_factory(ChannelFacts(scheme="exec", name=url.redacted()))
    words = shlex.split(url.target)
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            # A session of its own: Ctrl-C at our terminal must reach us, and not kill ssh before our goodbye.
            fd = theirs.fileno()
            child = subprocess.Popen(words, stdin=fd, stdout=fd, start_new_session=True)  # noqa: ASYNC220
    except OSError as error:
        ours.close()
        raise _problem(url, words[0], error) from error
    ours.setblocking(False)
    transport = ExecTransport(asyncio.get_running_loop(), protocol, ours.detach(), child, url.redacted())
    transport.start()
    return transport, protocol


class ExecTransport(FdTransport):
    """A connection to a child. ``connection_lost`` comes when the child was reaped.

    ``close`` ends its input; two seconds later its process group gets SIGTERM, two more later SIGKILL. ``abort`` is
    SIGKILL at once.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.BaseProtocol,
        fd: int,
        child: subprocess.Popen[bytes],
        name: str,
    ) -> None:
        super().__init__(loop, protocol, fd, fd, extra={"subprocess": child})
        self._child = child
        self._name = name
        self._asked = self._kill = self._reaped = False
        self._error: Exception | None = None
        self._timers: list[asyncio.TimerHandle] = []

    def start(self) -> None:
        try:
            super().start()
        except BaseException:
            self._signal(signal.SIGKILL)
            self._child.wait()
            raise

    def close(self) -> None:
        self._asked = True
        super().close()

    def abort(self) -> None:
        self._asked = self._kill = True
        if self._finished and not self._reaped:
            self._signal(signal.SIGKILL)
        super().abort()

    def _end_of_input(self) -> None:
        asked = self._asked
        super()._end_of_input()
        self._asked = asked  # the close in there was the child's doing

    def _connection_lost(self, error: Exception | None) -> None:
        # Our end of the socket is closed: the child reads the end of its input, and has its time to go.
        self._error = error
        if self._kill:
            self._signal(signal.SIGKILL)
        else:
            self._timers = [
                self._loop.call_later(TERMINATE_AFTER, self._signal, signal.SIGTERM),
                self._loop.call_later(KILL_AFTER, self._signal, signal.SIGKILL),
            ]
        pidfd = os.pidfd_open(self._child.pid)  # it cannot be another process: nobody has waited for it yet
        self._loop.add_reader(pidfd, self._exited, pidfd)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)

    def _exited(self, pidfd: int) -> None:
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        for timer in self._timers:
            timer.cancel()
        status = self._child.wait()
        self._reaped = True
        error = self._error
        if status and not self._asked:
            error = ChannelUnavailable(f"{self._name} {_meaning(status)}; its error output tells more")
            error.__cause__ = self._error
        super()._connection_lost(error)


def _meaning(status: int) -> str:
    if status < 0:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-status).name}"
    return f"exited with status {status}"


def _problem(url: ChannelUrl, program: str, error: OSError) -> ChannelUnavailable:
    start = f"cannot run {url.redacted()}"
    match error.errno:
        case errno.ENOENT:
            text = f"there is no program {program!r}; install it, or give its path"
        case errno.EACCES:
            text = f"no permission: {access_remedy(program)}" if "/" in program else f"{program!r} may not be run"
        case _:
            text = reason(error)
    return ChannelUnavailable(f"{start}: {text}")
