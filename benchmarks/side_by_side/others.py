"""The measurements of the neighbouring packages, in the same rounds: ``benchmarks.rows`` and ``benchmarks.guest``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from benchmarks.side_by_side.found import Found, Measurable, reason

__all__ = ["OTHERS", "other"]

OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "rows": ("rows", {}),
    "guest": ("guest", {"qemu_ga": False}),
    "qemu-ga": ("guest", {"guest": False}),
}
"""By name: the package, and what its session is asked for. A guest that does not boot costs nothing of qemu-ga's."""


@contextlib.contextmanager
def other(name: str, *, quick: bool) -> Iterator[Measurable]:
    """One of :data:`OTHERS`, with what it keeps over all rounds (servers, a guest) while this is entered.

    Its package offers ``session(quick=...)``, an asynchronous context manager of something with an ``async`` method
    ``one_round()``, which gives metrics by their full names.
    """
    with contextlib.ExitStack() as stack:
        try:
            one_round = opened(name, quick, stack)
        except (Exception, SystemExit) as error:  # the report says so, and the run goes on
            failed = Found(failures={name: reason(error)})
            yield Measurable(name, lambda: failed, yields=True)
            return
        yield Measurable(name, lambda: measured(name, one_round), yields=True)


def opened(name: str, quick: bool, stack: contextlib.ExitStack) -> Callable[[], dict[str, float]]:
    """What measures one round."""
    package, asked = OTHERS[name]
    session = import_module(f"benchmarks.{package}").session(quick=quick, **asked)
    runner = stack.enter_context(asyncio.Runner())
    entered = runner.run(session.__aenter__())
    stack.callback(lambda: runner.run(session.__aexit__(None, None, None)))
    return lambda: runner.run(entered.one_round())


def measured(name: str, one_round: Callable[[], dict[str, float]]) -> Found:
    try:
        return Found(one_round())
    except (Exception, SystemExit) as error:
        return Found(failures={name: reason(error)})
