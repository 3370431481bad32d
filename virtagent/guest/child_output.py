"""Reading what a process writes, as fast as somebody takes it, until it has ended."""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import termios

from virtagent.guest.child import Child
from virtagent.guest.output_ring import Source

__all__ = ["CHUNK", "LINGER", "ChildOutput"]

CHUNK = 64 * 1024
"""Bytes that are read at once: what a pipe holds."""

SOURCES: tuple[Source, ...] = ("stdout", "stderr")

LINGER = 0.25
"""Seconds that the end of its output is waited for after a process has ended: others may hold its pipes for ever."""


class ChildOutput:
    """The output of a process, piece by piece: nothing is read ahead.

    What it had written when it ended is given whole, however slowly it is taken; what others write to its pipes after
    that, for :data:`LINGER` seconds.

    Attributes:
        held: others still have its pipes open.
    """

    def __init__(self, child: Child) -> None:
        self._child = child
        self._loop = asyncio.get_running_loop()
        self._names: list[Source] = [name for name in SOURCES if name in child.descriptors]
        self._owed: dict[str, int] | None = None
        self._linger = 0.0
        self._wake: asyncio.Future[None] | None = None
        self._hung_up = False
        self.held = False
        child.call_when_ended(self._on_end)

    def _on_end(self) -> None:
        """What lies in the pipes now is the process's own, as far as it is there."""
        self._hung_up = False
        self._linger = self._loop.time() + LINGER
        self._owed = {name: _readable(self._child.descriptors.get(name)) for name in self._names}
        self._awake()

    def _awake(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def next(self) -> tuple[Source, bytes] | None:
        """The next piece, and whether it is of "stdout" or "stderr"; None when there will be none.

        Cancellation loses nothing.
        """
        while self._names:
            for name in list(self._names):
                data = self._read(name)
                if data:
                    self._names.remove(name)
                    self._names.append(name)  # the other one is next
                    return name, data
            if self._names:
                await self._wait()
        return None

    def _read(self, name: Source) -> bytes:
        descriptor = self._child.descriptors.get(name)
        if descriptor is None:
            self._names.remove(name)
            return b""
        if self._hung_up and self._owed is None:
            return b""
        over = self._owed is not None and self._owed[name] <= 0 and self._loop.time() >= self._linger
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            self.held |= over
            if over:
                self._close(name)
            return b""
        except OSError:  # EIO: nobody has the terminal open (any more)
            if self._owed is None:
                # To close our end now would kill the process by SIGHUP, before it has come to its own end.
                self._hung_up = True
                return b""
            data = b""
        if data and over:
            self.held = True
            data = b""
        if not data:
            self._close(name)
        elif self._owed is not None:
            self._owed[name] -= len(data)
        return data

    def _close(self, name: Source) -> None:
        self._names.remove(name)
        self._child.close(name)

    async def _wait(self) -> None:
        wake = self._wake = self._loop.create_future()
        descriptors = [] if self._hung_up else [self._child.descriptors[name] for name in self._names]
        timer = None if self._owed is None else self._loop.call_at(self._linger, self._awake)
        for each in descriptors:
            self._loop.add_reader(each, self._awake)
        try:
            await wake
        finally:
            self._wake = None
            if timer is not None:
                timer.cancel()
            for each in descriptors:
                self._loop.remove_reader(each)


def _readable(descriptor: int | None) -> int:
    """How many bytes can be read at once (FIONREAD)."""
    if descriptor is None:
        return 0
    count = array.array("i", [0])
    try:
        fcntl.ioctl(descriptor, termios.FIONREAD, count)
    except OSError:
        return 0
    return count[0]
