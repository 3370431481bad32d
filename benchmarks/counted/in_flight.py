"""Calls in flight, and what they carry."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

WIDTH = 64
"""Calls in flight; and notifications in one turn, before a call that keeps both ends in step."""


def payload(size: int = 40) -> dict[str, bytes]:
    """Params whose request has about ``size`` + 24 bytes on the wire, so that the default is a 64-byte call."""
    return {"data": b"x" * size}


async def in_flight(call: Callable[[], Awaitable[Any]], count: int, width: int = WIDTH) -> None:
    """``count`` calls, ``width`` of them in flight at a time; ``width`` divides ``count``."""

    async def worker() -> None:
        for _ in range(count // width):
            await call()

    await asyncio.gather(*(worker() for _ in range(width)))
