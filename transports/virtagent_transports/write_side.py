"""The writing half of :class:`~virtagent_transports.fd_transport.FdTransport`: the queue and its flow control."""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from .write_queue import Bytes, WriteQueue

__all__ = ["WriteSide"]

WRITES_PER_TURN = 16
"""A fast reader at the other end must not keep the loop from everything else."""


class WriteSide(asyncio.Transport):
    """Writes to a non-blocking descriptor, at once where possible and else when the loop says that it is writable.

    Attributes:
        gathers: ``writelines`` copies nothing and needs one system call (asyncio's own joins before Python 3.12).
    """

    gathers: ClassVar[bool] = True

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.BaseProtocol,
        write_fd: int,
        max_write: int,
        extra: dict[str, Any] | None,
    ) -> None:
        asyncio.Transport.__init__(self, extra)
        self._loop = loop
        self._protocol = protocol
        self._write_fd = write_fd
        self._max_write = max_write
        self._queue = WriteQueue(max_write)
        self._closing = self._finished = self._writing = self._protocol_paused = False
        self._high, self._low = 64 * 1024, 16 * 1024

    @abstractmethod
    def _lose(self, error: Exception | None) -> None:
        """End now: drop the queue, stop all callbacks, and tell the protocol from the loop."""

    @abstractmethod
    def _progress(self) -> None:
        """Some bytes left the queue."""

    # -- writing --------------------------------------------------------------------------------------------------

    def write(self, data: Bytes) -> None:
        if not self._queue.size and not self._closing and type(data) is bytes and 0 < len(data) <= self._max_write:
            # What most writes are: a message that fits, to a file that takes it. No views, and no slices of them.
            try:
                sent = os.write(self._write_fd, data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._lose(error)
                return
            if sent == len(data):
                return
            self._keep(memoryview(data)[sent:], blocked=not sent)
            return
        view = memoryview(data).cast("B")
        if self._closing or not len(view):
            return
        blocked = False
        if not self._queue:
            try:
                view = view[os.write(self._write_fd, view[: self._max_write]) :]
            except (BlockingIOError, InterruptedError):
                blocked = True
            except OSError as error:
                self._lose(error)
                return
        if len(view):
            self._keep(view, blocked=blocked)

    def _keep(self, view: memoryview, *, blocked: bool) -> None:
        self._queue.append(view)
        self._wait_writable(blocked)
        self._pause_protocol()

    def writelines(self, list_of_data: Iterable[Bytes]) -> None:
        """Write several pieces, in one system call where they fit; each is kept or copied as by ``write``."""
        if self._closing:
            return
        idle = not self._queue
        for data in list_of_data:
            self._queue.append(memoryview(data).cast("B"))
        if idle and self._queue:
            self._write_ready()
        self._pause_protocol()

    def can_write_eof(self) -> bool:
        return False

    def write_eof(self) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no half-close")

    def _wait_writable(self, blocked: bool) -> None:
        """Arrange for ``_write_ready``. ``blocked``: the file said so; otherwise it may take more already."""
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._write_fd, self._write_ready)

    def _unwatch_writes(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._write_fd)

    def _write_ready(self) -> None:
        blocked = progress = False
        try:
            for _ in range(WRITES_PER_TURN):
                if not self._queue:
                    break
                progress = self._queue.send(self._write_fd) > 0
        except (BlockingIOError, InterruptedError):
            blocked = True
        except OSError as error:
            self._lose(error)
            return
        if self._queue:
            self._wait_writable(blocked)
        else:
            self._unwatch_writes()
        self._resume_protocol()
        if progress:
            self._progress()

    # -- flow control ---------------------------------------------------------------------------------------------

    def get_write_buffer_size(self) -> int:
        return self._queue.size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = 64 * 1024 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be >= low ({low}) must be >= 0")
        self._high, self._low = high, low
        self._pause_protocol()

    def _pause_protocol(self) -> None:
        if self._queue.size > self._high and not self._protocol_paused and not self._finished:
            self._protocol_paused = True
            self._tell("pause_writing")

    def _resume_protocol(self) -> None:
        if self._protocol_paused and self._queue.size <= self._low:
            self._protocol_paused = False
            self._tell("resume_writing")

    def _tell(self, method: str) -> None:
        try:
            getattr(self._protocol, method)()
        except Exception as error:
            context = {"exception": error, "transport": self, "protocol": self._protocol}
            self._loop.call_exception_handler({"message": f"protocol.{method}() failed", **context})
