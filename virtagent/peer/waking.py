"""Waking the task that waits for an answer right where the answer was read.

A future's own way is to schedule the wake-up for the loop's next turn: one more pass through the loop and one more
system call for each call. The read path is a callback of the loop, no task runs meanwhile, so the task can go on at
once; answers that came together wake their tasks in the order in which they came, as the loop would.
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["wake"]


def wake(waiter: asyncio.Future[Any], result: Any) -> None:
    """Set a future's result and run what waits for it now, if that is a single callback; else as futures do.

    Only for callbacks of the event loop. ``waiter`` must not be done.
    """
    future: Any = waiter
    callbacks: list[Any] | None = future._callbacks  # typeshed does not know of the None, and compiled code believes it
    if callbacks is None or len(callbacks) != 1:
        waiter.set_result(result)
        return
    callback, context = callbacks[0]
    waiter.remove_done_callback(callback)
    waiter.set_result(result)
    try:
        context.run(callback, waiter)
    except RuntimeError:  # a task runs after all: a transport delivers inside write(). What tasks raise, they keep.
        waiter.get_loop().call_soon(callback, waiter, context=context)
