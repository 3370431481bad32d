"""The doctor: each check runs in a thread of its own, for a bounded time, and spoils nothing for the others."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

from virtagent.api.health import Finding, Verdict
from virtagent.errors import NotFound
from virtagent.guest.resources import Resources

__all__ = ["Check", "Result", "chosen", "examine", "fail", "ok", "warn"]

PATIENCE = 4.0
"""Seconds that a check may take."""

AT_A_TIME = 4


class Result(NamedTuple):
    """What a check found: the verdict, what was found, what to do."""

    verdict: Verdict
    message: str
    remedy: str = ""


class Check(NamedTuple):
    """One check.

    Attributes:
        name: what people call it.
        run: finds out; it may block, and raise anything.
    """

    name: str
    run: Callable[[Resources], Result]


def ok(message: str) -> Result:
    """It works."""
    return Result("ok", message)


def warn(message: str, remedy: str) -> Result:
    """Something that not everybody needs does not work."""
    return Result("warn", message, remedy)


def fail(message: str, remedy: str) -> Result:
    """What the agent is for suffers."""
    return Result("fail", message, remedy)


def chosen(names: Sequence[str]) -> list[Check]:
    """The checks of these names; all, where there are none.

    Raises:
        NotFound: there is no such check.
    """
    from virtagent.guest.doctor_agent import CHECKS as AGENT  # noqa: PLC0415 - they import this module
    from virtagent.guest.doctor_rights import CHECKS as RIGHTS  # noqa: PLC0415
    from virtagent.guest.doctor_system import CHECKS as SYSTEM  # noqa: PLC0415

    every = {each.name: each for each in (*AGENT, *RIGHTS, *SYSTEM)}
    for name in names:
        if name not in every:
            raise NotFound(f"there is no check {name!r}; there are {', '.join(every)}")
    return [every[name] for name in dict.fromkeys(names)] or list(every.values())


async def examine(
    checks: Sequence[Check], resources: Resources, *, patience: float = PATIENCE
) -> AsyncIterator[Finding]:
    """Make the checks, a few at a time, and give what they find in their order.

    Cancellation leaves the threads of running checks to their end.
    """
    room = asyncio.Semaphore(AT_A_TIME)

    async def bounded(check: Check) -> Finding:
        async with room:
            return await _examine(check, resources, patience)

    tasks = [asyncio.create_task(bounded(check), name=f"doctor {check.name}") for check in checks]
    try:
        for task in tasks:
            yield await task
    finally:
        for task in tasks:
            task.cancel()


async def _examine(check: Check, resources: Resources, patience: float) -> Finding:
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result) -> None:
        if not found.done():
            found.set_result(result)

    def run() -> None:
        try:
            result = check.run(resources)
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            result = warn(f"could not be found out: {type(error).__name__}: {text}", "see the agent's rights and log")
        try:
            loop.call_soon_threadsafe(settle, result)
        except RuntimeError:
            return  # the agent has ended meanwhile

    began = time.monotonic()
    # Not of a pool: a check that hangs must not take another one's place.
    threading.Thread(target=run, name=f"virtagent-doctor-{check.name}", daemon=True).start()
    try:
        async with asyncio.timeout(patience):
            result = await found
    except TimeoutError:
        result = fail(f"no result within {patience:g} s: something that it asks hangs", "see dmesg for hung tasks")
    return Finding(
        check=check.name,
        verdict=result.verdict,
        message=result.message,
        remedy=result.remedy,
        took=round(time.monotonic() - began, 4),
    )
