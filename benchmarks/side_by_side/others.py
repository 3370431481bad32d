"""The measurements of the neighbouring packages, in the same rounds: ``benchmarks.rows`` and ``benchmarks.guest``."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from benchmarks.side_by_side.found import Found, Measurable, reason

__all__ = ["OTHERS", "other"]

OTHERS = ("rows", "guest")


@contextlib.contextmanager
def other(name: str, *, quick: bool) -> Iterator[Measurable]:
    """A package's measurement, with what it keeps over all rounds (servers, a guest) while this is entered.

    The package offers ``one_round(quick=...)``, plain or ``async``, or ``session(quick=...)``, an asynchronous context
    manager of something with ``one_round()``. It gives metrics by their full names.
    """
    with contextlib.ExitStack() as stack:
        try:
            one_round = opened(name, quick, stack)
        except Exception as error:  # its own business failed: the report says so, and the run goes on
            failed = Found(failures={name: reason(error)})
            yield Measurable(name, lambda: failed, yields=True)
            return
        yield Measurable(name, lambda: measured(name, one_round), yields=True)


def opened(name: str, quick: bool, stack: contextlib.ExitStack) -> Callable[[], dict[str, float]]:
    """What measures one round."""
    module = import_module(f"benchmarks.{name}")
    if not hasattr(module, "session"):
        return lambda: ended(module.one_round(quick=quick), asyncio.run)
    runner = stack.enter_context(asyncio.Runner())
    session = module.session(quick=quick)
    entered = runner.run(session.__aenter__())
    stack.callback(lambda: runner.run(session.__aexit__(None, None, None)))
    return lambda: ended(entered.one_round(), runner.run)


def ended(found: Any, run: Callable[[Any], Any]) -> dict[str, float]:
    """The metrics, of a plain function or of a coroutine."""
    metrics: dict[str, float] = run(found) if inspect.isawaitable(found) else found
    return metrics


def measured(name: str, one_round: Callable[[], dict[str, float]]) -> Found:
    try:
        return Found(one_round())
    except Exception as error:
        return Found(failures={name: reason(error)})
