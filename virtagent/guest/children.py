"""The processes that the agent runs, and their end with the agent."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping
from contextlib import AbstractContextManager, ExitStack

from virtagent.api.processes import Command, StderrMode, StdoutMode
from virtagent.errors import Unavailable
from virtagent.guest.child import Child
from virtagent.guest.grants import Grant
from virtagent.guest.network_mounts import NetworkMounts
from virtagent.guest.spawn import spawn

__all__ = ["STOP_GRACE", "Children"]

STOP_GRACE = 1.5
"""Seconds that processes have when the agent goes, whatever their own grace is: stop hooks may take two."""


class Children:
    """Processes by pid, from their start until they have been reaped."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[Child, Hashable]] = {}
        self._network = NetworkMounts()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._running)

    def find(self, pid: int, owner: Hashable) -> Child | None:
        """The process of this pid, if the owner started it and it runs."""
        child, whose = self._running.get(pid, (None, None))
        return child if whose == owner else None

    async def start(
        self,
        command: Command,
        env: Mapping[str, str] | None,
        grant: Grant,
        owner: Hashable,
        *,
        held: AbstractContextManager[None],
        stdin: bool,
        stdout: StdoutMode = "pipe",
        stderr: StderrMode = "pipe",
    ) -> Child:
        """Start a process; see :func:`spawn`.

        Args:
            owner: who counts as its starter.
            held: entered before, and left when the process has ended: counts it, and refuses one too many.

        Raises:
            CallError: see ``Processes.run``.
        """
        if self._stopping:
            raise Unavailable("the agent is about to go, and starts nothing any more")
        with ExitStack() as until_it_ends:
            until_it_ends.enter_context(held)
            child = await spawn(command, env, grant, self._network, stdin=stdin, stdout=stdout, stderr=stderr)
            self._running[child.pid] = (child, owner)
            until_it_ends.callback(self._running.pop, child.pid)
            child.call_when_ended(until_it_ends.pop_all().close)
        return child

    async def stop(self, reason: str, message: str) -> None:
        """End them all: the agent goes. A hook of ``Resources.on_stop``."""
        self._stopping = True
        self._network.close()
        children = [child for child, _ in self._running.values()]
        for child in children:
            child.terminate()
        if children:
            await asyncio.wait([child.exited for child in children], timeout=STOP_GRACE)
        for child in children:
            child.kill()
