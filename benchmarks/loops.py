"""Event loops by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.util import find_spec

__all__ = ["LOOPS", "loop_factory"]

LOOPS = ("asyncio", "uvloop") if find_spec("uvloop") else ("asyncio",)
"""The event loops that are installed."""


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes a loop of that name: "asyncio" or "uvloop"."""
    if name == "asyncio":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop
