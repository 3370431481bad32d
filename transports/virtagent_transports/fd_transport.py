"""An asyncio transport over one or two non-blocking file descriptors: the common part of virtio, serial, stdio, exec.

What asyncio's pipe transports and pyserial-asyncio lack: reads go straight into a ``BufferedProtocol``'s buffer,
writes are tried at once, the write queue is linear, and a close that makes no progress ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import warnings
from typing import Any, ClassVar, cast

from .write_side import WriteSide

__all__ = ["FdTransport"]

READ_SIZE = 64 * 1024
"""Bytes per read for a protocol without a buffer of its own."""


class FdTransport(WriteSide):
    """A transport that owns ``read_fd`` and ``write_fd`` (which may be the same), both already non-blocking.

    ``write`` keeps ``bytes`` by reference and copies a bytearray or a view of one if it cannot be written at once.
    ``close`` writes what is queued first; after ``stall_limit`` seconds without any progress it gives up.
    ``connection_lost`` comes once, from the loop, after the descriptors were closed, so that the protocol may open
    an exclusive device again right there.
    """

    stall_limit: ClassVar[float] = 10.0
    """Seconds without progress after which a closing transport drops what is left."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.BaseProtocol,
        read_fd: int,
        write_fd: int,
        *,
        max_write: int = 256 * 1024,
        extra: dict[str, Any] | None = None,
    ) -> None:
        WriteSide.__init__(self, loop, protocol, write_fd, max_write, extra)  # not super(): serial has another base
        self._read_fd = read_fd
        self._released = self._ended = self._paused = self._reading = False
        self._stall: asyncio.TimerHandle | None = None
        self.set_protocol(protocol)

    def start(self) -> None:
        """Call ``connection_made`` and begin to read; what it raises is raised here, after everything was closed."""
        try:
            self._protocol.connection_made(self)
        except BaseException:
            self._closing = self._finished = True
            self._release_once()
            raise
        self._update_reading()

    def __repr__(self) -> str:
        state = "closed" if self._finished else "closing" if self._closing else "open"
        return f"<{type(self).__name__} {state} fd={self._read_fd},{self._write_fd} queued={self._queue.size}>"

    def __del__(self) -> None:
        if not getattr(self, "_released", True):
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, source=self, stacklevel=1)
            self._release_once()

    # -- the protocol ---------------------------------------------------------------------------------------------

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def _fail(self, error: BaseException, message: str) -> None:
        context = {"message": message, "exception": error, "transport": self, "protocol": self._protocol}
        self._loop.call_exception_handler(context)
        self._lose(error if isinstance(error, Exception) else None)

    # -- reading --------------------------------------------------------------------------------------------------

    def is_reading(self) -> bool:
        return not self._paused and not self._closing and not self._ended

    def pause_reading(self) -> None:
        self._paused = True
        self._update_reading()

    def resume_reading(self) -> None:
        self._paused = False
        self._update_reading()

    def _update_reading(self) -> None:
        if self._reading != self.is_reading():
            self._reading = not self._reading
            if self._reading:
                self._watch_reads()
            else:
                self._unwatch_reads()

    def _watch_reads(self) -> None:
        self._loop.add_reader(self._read_fd, self._read_ready)

    def _unwatch_reads(self) -> None:
        self._loop.remove_reader(self._read_fd)

    def _read_ready(self) -> object:
        """The loop says that there is something to read."""
        return self._read_once()

    def _read_once(self) -> int:
        """Read once; how many bytes came. 0: nothing can come now."""
        protocol: Any = self._protocol  # either kind; what it lacks is reported like any of its errors
        if not self._buffered:
            return self._read_bytes(protocol)
        try:
            buffer = protocol.get_buffer(-1)
            if not len(buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
        except Exception as error:
            self._fail(error, "protocol.get_buffer() failed")
            return 0
        try:
            count = os.readv(self._read_fd, (buffer,))  # any fd number, no select(): a daemon has many
        except OSError as error:
            self._not_read(error)
            return 0
        if not count:
            self._end_of_input()
            return 0
        try:
            protocol.buffer_updated(count)
        except Exception as error:
            self._fail(error, "protocol.buffer_updated() failed")
            return 0
        return count

    def _read_bytes(self, protocol: asyncio.Protocol) -> int:
        """The same for a protocol without buffers of its own."""
        try:
            data = os.read(self._read_fd, READ_SIZE)
        except OSError as error:
            self._not_read(error)
            return 0
        if not data:
            self._end_of_input()
            return 0
        try:
            protocol.data_received(data)
        except Exception as error:
            self._fail(error, "protocol.data_received() failed")
            return 0
        return len(data)

    def _not_read(self, error: OSError) -> None:
        if isinstance(error, (BlockingIOError, InterruptedError)):
            self._nothing_to_read()
        else:
            self._read_failed(error)

    def _nothing_to_read(self) -> None:
        """A read would block."""

    def _read_failed(self, error: OSError) -> None:
        self._lose(error)

    def _end_of_input(self) -> None:
        self._ended = True
        self._update_reading()
        try:
            stay = cast("asyncio.Protocol", self._protocol).eof_received()
        except Exception as error:
            self._fail(error, "protocol.eof_received() failed")
            return
        if not stay:
            self.close()

    # -- the end --------------------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._update_reading()
        if self._queue:
            self._watch_stall()
        else:
            self._drained()

    def abort(self) -> None:
        self._lose(None)

    def _watch_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
        self._stall = self._loop.call_later(self.stall_limit, self.abort)

    def _progress(self) -> None:
        if self._closing and not self._finished:
            if self._queue:
                self._watch_stall()
            else:
                self._drained()

    def _drained(self) -> None:
        """Closing, and all is written."""
        self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if self._finished:
            return
        self._closing = self._finished = True
        self._update_reading()
        self._unwatch_writes()
        self._queue.clear()
        if self._stall is not None:
            self._stall.cancel()
        self._release_once()
        self._loop.call_soon(self._connection_lost, error)

    def _connection_lost(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)

    def _release_once(self) -> None:
        if not self._released:
            self._released = True
            self._release()

    def _release(self) -> None:
        """Close what this transport owns; no callback is registered any more."""
        for fd in {self._read_fd, self._write_fd}:
            with contextlib.suppress(OSError):
                os.close(fd)
