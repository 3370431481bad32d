"""Services of the agent on a socket, and a host that is connected to them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import virtagent
from virtagent.guest.grants import Grant, Grants
from virtagent.guest.jobs import JobsService
from virtagent.guest.proc_stat import read_stat
from virtagent.guest.processes import ProcessesService
from virtagent.guest.resources import Resources

LIMIT = 30.0
"""Seconds that anything here may take; only a hang reaches it."""


@asynccontextmanager
async def serving(directory: Path, grant: Grant | None = None) -> AsyncIterator[str]:
    """The services `processes` and `jobs` on a socket: its URL. All callers have the grant."""
    resources = Resources()
    if grant is not None:
        resources.grants = Grants(lambda _: (grant, None))
    url = f"unix:{directory}/guest.sock"
    async with virtagent.listen(url, services=[ProcessesService(resources), JobsService(resources)]):
        try:
            yield url
        finally:
            await resources.stop("stop", "the test is over")


@asynccontextmanager
async def served(directory: Path, grant: Grant | None = None) -> AsyncIterator[virtagent.Guest]:
    """A host connected to them."""
    async with serving(directory, grant) as url, virtagent.connect(url) as guest:
        yield guest


async def gone(pid: int) -> None:
    """Wait until a process has ended; a zombie has."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_reader(descriptor, lambda: None if ended.done() else ended.set_result(None))
    try:
        await asyncio.wait_for(ended, LIMIT)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def is_running(pid: int) -> bool:
    """Whether there is such a process, and no zombie."""
    stat = read_stat(pid)
    return stat is not None and stat.state not in "ZX"


def kill(pid: int) -> None:
    """End a process that a test left alone on purpose."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
