"""Waiting until a descriptor can be read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

__all__ = ["wait_readable", "watch"]

POLL = 0.5
"""Seconds between two looks at a descriptor that cannot be waited for."""


def watch(descriptor: int, callback: Callable[[], None]) -> Callable[[], object]:
    """Call back when there is something to read, or the end, or an error; files that cannot tell are polled.

    Returns:
        What ends the watch; to be called once, before the descriptor is closed.
    """
    loop = asyncio.get_running_loop()
    try:
        loop.add_reader(descriptor, callback)
    except PermissionError:
        return loop.call_later(POLL, callback).cancel
    return partial(loop.remove_reader, descriptor)


async def wait_readable(descriptor: int) -> None:
    """Return when there may be something to read. Cancellation leaves nothing behind."""
    ready = asyncio.Event()
    unwatch = watch(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        unwatch()
