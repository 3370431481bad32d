"""What several of the transports' tests need."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import tty
from collections.abc import Iterator

from virtagent.testing.transports import Recorder
from virtagent_transports import ChannelFacts

FACTS = ChannelFacts(scheme="test", name="test")
BOUND = 10.0
"""Seconds that anything here may take."""


async def lost(recorder: asyncio.BaseProtocol) -> Exception | None:
    """Wait for the end of a recorder's connection; returns its error."""
    assert isinstance(recorder, Recorder)
    await recorder.until(lambda: "connection_lost" in recorder.calls, "connection_lost()", BOUND)
    return recorder.error


async def received(recorder: asyncio.BaseProtocol, data: bytes) -> None:
    """Wait until exactly this arrived at a recorder, and forget it."""
    assert isinstance(recorder, Recorder)
    await recorder.until(lambda: len(recorder.received) >= len(data), f"arrival of {data[:20]!r}", BOUND)
    assert recorder.received == data
    recorder.received.clear()


@contextlib.contextmanager
def pty_pair() -> Iterator[tuple[int, str]]:
    """A pty in raw mode: the descriptor of its master, non-blocking, and the path of its slave."""
    master, slave = pty.openpty()
    try:
        tty.setraw(slave)
        os.set_blocking(master, False)
        yield master, os.ttyname(slave)
    finally:
        with contextlib.suppress(OSError):
            os.close(slave)
        with contextlib.suppress(OSError):
            os.close(master)


async def readable(fd: int) -> None:
    """Wait until a descriptor can be read."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        async with asyncio.timeout(BOUND):
            await ready.wait()
    finally:
        loop.remove_reader(fd)


async def read_exactly(fd: int, count: int) -> bytes:
    """Read that many bytes from a non-blocking descriptor."""
    data = b""
    while len(data) < count:
        await readable(fd)
        data += os.read(fd, count - len(data))
    return data
