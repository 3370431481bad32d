"""Running a peer's side on the event loop under measure."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import ModuleType
from typing import Any, TypeVar

from benchmarks.loops import loop_factory
from benchmarks.peers.peer import Loop

__all__ = ["run", "running_loop"]

T = TypeVar("T")


def run(module: ModuleType, loop: Loop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; without a loop (it then never waits) for a peer that brings its own, or blocks."""
    if loop in {"asyncio", "uvloop"}:
        if hasattr(module, "run"):
            coroutine = module.run(coroutine)
        with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
            return runner.run(coroutine)
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a blocking peer waited for an event loop")


def running_loop() -> str:
    """The name of the loop that runs: "asyncio" or "uvloop"."""
    return "uvloop" if type(asyncio.get_running_loop()).__module__.startswith("uvloop") else "asyncio"
