"""Waiting until something is true in the guest, woken by what the guest tells."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from virtagent.errors import CallError
from virtagent.pytest_plugin.command import NotInTime, execute

if TYPE_CHECKING:
    from virtagent.host.guest import Guest

__all__ = ["Condition", "wait_until"]

Condition = str | Callable[["Guest"], Awaitable[Any]]

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 1.0
"""Seconds between two tries while no event tells that something has changed."""


async def wait_until(guest: Guest, condition: Condition, *, timeout: float, on: tuple[str, ...]) -> Any:
    """Try a condition until it is true: at once, after each event, and after pauses that double.

    Args:
        condition: a shell line that ends with 0, or an asynchronous function of the guest that gives something true.
        timeout: seconds.
        on: patterns of the kinds of events after which to try again.

    Returns:
        The line's stdout, or what the function gave.

    Raises:
        NotInTime: it did not come true; the message tells how the last try went.
    """
    changed = asyncio.Event()
    watching = asyncio.ensure_future(_watch(guest, on, changed))
    last = ""
    try:
        async with asyncio.timeout(timeout):
            pause = FIRST_PAUSE
            while True:
                changed.clear()
                result, true, last = await _try(guest, condition, timeout)
                if true:
                    return result
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), pause)
                pause = min(pause * 2, LONGEST_PAUSE)
    except TimeoutError:
        what = f"`{condition}`" if isinstance(condition, str) else getattr(condition, "__name__", repr(condition))
        raise NotInTime(f"{what} is not true after {timeout:g} s; the last try {last or 'has not ended'}") from None
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _try(guest: Guest, condition: Condition, timeout: float) -> tuple[Any, bool, str]:
    if isinstance(condition, str):
        done = await execute(guest, condition, timeout=timeout)
        return done.stdout, done.returncode == 0, f"ended with {done.returncode}{done.shown}"
    result = await condition(guest)
    return result, bool(result), f"gave {result!r}"


async def _watch(guest: Guest, on: tuple[str, ...], changed: asyncio.Event) -> None:
    """Wake the waiting at each event. A guest that has none to tell leaves it to the pauses."""
    with contextlib.suppress(CallError):
        async with guest.events(*on) as events:
            async for _ in events:
                changed.set()
