"""What several of the peer's tests need."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

from virtagent.peer.context import Context
from virtagent.peer.handler import Handler, Mode
from virtagent.peer.peer import Peer
from virtagent.testing import VirtualTimeLoop


def handler(function: Callable[..., Any], name: str | None = None, mode: Mode | None = None) -> Handler:
    """A function ``(ctx, *args, **params)`` as a handler: coroutines as tasks, the rest inline."""
    if mode is None:
        mode = "task" if inspect.iscoroutinefunction(function) else "inline"

    def invoke(context: Context, params: Any) -> Any:
        return function(context, **params) if isinstance(params, dict) else function(context, *params)

    return Handler(name or function.__name__, mode, invoke)


def echo(_: Context, value: Any = None) -> Any:
    """Answers with its argument."""
    return value


ECHO = handler(echo)


class Gate:
    """A handler that is held until it is let go, and tells what became of it."""

    def __init__(self, name: str = "gate") -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.ended = asyncio.Event()
        self.count = 0
        self.cancelled = 0
        self.handler = handler(self._handle, name)

    async def _handle(self, _: Context, value: Any = None) -> Any:
        self.count += 1
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.ended.set()
        return value


async def until(condition: Callable[[], bool], what: str = "", turns: int = 1000) -> None:
    """Let the loop turn until a condition holds; no time passes beyond what timers need."""
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{what or condition} did not happen within {turns} turns of the loop")


def virtual_loop() -> VirtualTimeLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop


def is_idle(*peers: Peer) -> bool:
    """Nothing is open in these peers: no calls, requests, handlers, streams, queued messages, pumps."""
    for peer in peers:
        numbers = peer.statistics()
        names = ("calls", "requests", "running", "streams", "waiting_messages")
        if any(numbers.get(name) for name in names) or peer._pumps:
            return False
    return True


async def count_up(start: int = 0, end: int | None = None) -> AsyncIterator[int]:
    """A source of items."""
    while end is None or start < end:
        yield start
        start += 1
