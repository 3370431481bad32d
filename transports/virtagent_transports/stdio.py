"""``stdio:``: the standard input and output of this process, as ssh or another parent set them up.

The streams are taken away from the rest of the process: afterwards ``print()`` writes to standard error and
``input()`` finds the end, so that no service can corrupt the wire. Once per process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select

from virtagent.errors import ChannelBusy, ChannelUnavailable, UrlError

from .facts import ChannelFacts, ProtocolFactory
from .fd_transport import FdTransport
from .holders import reason
from .sockets import Connected
from .url import ChannelUrl

__all__ = ["OPTIONS", "StdioTransport", "check", "connect"]

OPTIONS: frozenset[str] = frozenset()


class _Streams:
    """Whether this process's streams are still there to be taken."""

    transport: StdioTransport | None = None


def check(url: ChannelUrl) -> None:
    """Refuse a target: there is only one."""
    if url.target:
        raise UrlError(f"{url} must be just stdio: (for a command's streams write exec:COMMAND)")


async def connect(url: ChannelUrl, protocol_factory: ProtocolFactory) -> Connected:
    """Take over standard input and output; see :func:`virtagent_transports.connect`.

    Raises:
        ChannelBusy: something in this process uses them as a channel already.
        ChannelUnavailable: they were used before, or are closed.
    """
    if _Streams.transport is not None:
        if _Streams.transport.is_closing():
            raise ChannelUnavailable("standard input and output were used up by an earlier connection: start again")
        raise ChannelBusy(
            "standard input and output are in use as a channel", holder=f"pid {os.getpid()} (this process)"
        )
    protocol = protocol_factory(ChannelFacts(scheme="stdio", name=url.redacted()))
    read_fd, write_fd = _take()
    transport = _Streams.transport = StdioTransport(asyncio.get_running_loop(), protocol, read_fd, write_fd)
    transport.start()
    return transport, protocol


class StdioTransport(FdTransport):
    """A transport over two descriptors of any kind: pipes, a socket, a terminal, files.

    It makes them non-blocking, which whoever inherited the same open file shares; the end puts that back.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, protocol: asyncio.BaseProtocol, read_fd: int, write_fd: int
    ) -> None:
        self._blocking = {fd: os.get_blocking(fd) for fd in (read_fd, write_fd)}
        for fd in self._blocking:
            os.set_blocking(fd, False)
        self._read_waits, self._write_waits = _pollable(read_fd), _pollable(write_fd)
        super().__init__(loop, protocol, read_fd, write_fd)

    # A regular file is always ready, and epoll refuses it.

    def _watch_reads(self) -> None:
        if self._read_waits:
            super()._watch_reads()
        else:
            self._loop.call_soon(self._read_file)

    def _read_file(self) -> None:
        if self._reading and self._read_once():
            self._loop.call_soon(self._read_file)

    def _unwatch_reads(self) -> None:
        if self._read_waits:
            super()._unwatch_reads()

    def _wait_writable(self, blocked: bool) -> None:
        if self._write_waits:
            super()._wait_writable(blocked)
        else:
            self._loop.call_soon(self._write_file)

    def _write_file(self) -> None:
        if self._queue:
            self._write_ready()

    def _release(self) -> None:
        for fd, blocking in self._blocking.items():
            with contextlib.suppress(OSError):
                os.set_blocking(fd, blocking)
        super()._release()


def _take() -> tuple[int, int]:
    fds: list[int] = []
    try:
        # Python's dup makes them non-inheritable: no child of a service gets the wire.
        fds.append(os.dup(0))
        fds.append(os.dup(1))
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.dup2(null, 0)
        finally:
            os.close(null)
        try:
            os.dup2(2, 1)
        except OSError:  # no standard error either
            null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(null, 1)
            os.close(null)
    except OSError as error:
        for fd in fds:
            os.close(fd)
        raise ChannelUnavailable(f"standard input and output are not usable: {reason(error)}") from error
    return fds[0], fds[1]


def _pollable(fd: int) -> bool:
    with select.epoll() as probe:
        try:
            probe.register(fd, select.EPOLLIN)
        except PermissionError:
            return False
    return True
