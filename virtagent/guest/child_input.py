"""Writing to the stdin of a process, as fast as it reads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from virtagent.errors import VirtagentError
from virtagent.guest.child import Child

__all__ = ["END_OF_FILE", "chunks_of", "feed", "feed_until_end"]

END_OF_FILE = b"\x04"
"""Ctrl-D, which ends a terminal's input (termios(3), VEOF): a terminal's master cannot be half closed."""


async def feed(child: Child, source: AsyncIterable[bytes], *, close: bool = True) -> int:
    """Write what comes to the stdin of a process; the number of bytes that it was given.

    Ends early where the process has ended, or has closed its stdin.

    Args:
        child: the process; no other task writes to it.
        source: bytes.
        close: end its stdin after that.
    """
    written = 0
    async for data in source:
        view = memoryview(data)
        while view:
            count = await _write(child, view)
            if count == 0:
                return written
            written += count
            view = view[count:]
    if close:
        if child.terminal:
            await _write(child, memoryview(END_OF_FILE))
        child.close("stdin")
    return written


async def _write(child: Child, data: memoryview) -> int:
    """Write some of it; 0: there is nobody to read it."""
    while (descriptor := child.descriptors.get("stdin")) is not None and not child.exited.done():
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            await _writable(child, descriptor)
        except OSError:  # EPIPE, or EIO of a terminal
            child.close("stdin")
    return 0


async def _writable(child: Child, descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    wake: asyncio.Future[None] = loop.create_future()

    def awake(*_: Any) -> None:
        if not wake.done():
            wake.set_result(None)

    loop.add_writer(descriptor, awake)
    child.exited.add_done_callback(awake)
    try:
        await wake
    finally:
        child.exited.remove_done_callback(awake)
        if child.descriptors.get("stdin") == descriptor:  # else it was closed, and its number may be another's
            loop.remove_writer(descriptor)


async def feed_until_end(child: Child, source: AsyncIterator[bytes]) -> None:
    """:func:`feed`, ended when the process ends; the source is closed in any case, so that its sender knows."""
    task = asyncio.current_task()
    assert task is not None
    child.exited.add_done_callback(lambda _: task.cancel())
    try:
        await feed(child, source)
    except asyncio.CancelledError:
        if not child.exited.done():
            raise
    except VirtagentError:  # the sender broke off: what it did not say is not to be taken for all there was
        child.terminate()
    finally:
        child.close("stdin")
        aclose = getattr(source, "aclose", None)
        if aclose is not None:
            await aclose()


async def chunks_of(data: bytes) -> AsyncIterator[bytes]:
    """Bytes at hand as a source."""
    yield data
