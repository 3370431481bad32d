"""Standard input as a source that reads no more than the guest takes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable

from virtagent.cli.local_terminal import Escape

__all__ = ["standard_input"]

STDIN = 0
CHUNK = 64 * 1024


async def standard_input(*, escape: Callable[[], None] | None = None) -> AsyncIterator[bytes]:
    """What comes on standard input, until its end.

    It is not made non-blocking: that would hold for the shell that started us, too.

    Args:
        escape: called when ``~.`` is typed; None: that is data like any other.
    """
    keys = Escape() if escape is not None else None
    while True:
        await _readable()
        data = os.read(STDIN, CHUNK)
        if not data:
            return
        if keys is not None and escape is not None:
            data, leave = keys.filter(data)
            if leave:
                escape()
                return
        if data:
            yield data


async def _readable() -> None:
    """Wait until a read does not block; a file's never does."""
    import asyncio  # noqa: PLC0415 - run() chooses how it is loaded

    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    try:
        loop.add_reader(STDIN, lambda: None if ready.done() else ready.set_result(None))
    except PermissionError:  # epoll takes no files
        return
    try:
        await ready
    finally:
        loop.remove_reader(STDIN)
