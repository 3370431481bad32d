"""The processes that the agent runs: how many each caller has, and their end with the agent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable, Mapping

from virtagent.api.processes import Command, StderrMode, StdoutMode
from virtagent.errors import ResourceExhausted, Unavailable
from virtagent.guest.child import Child
from virtagent.guest.grants import Grant
from virtagent.guest.spawn import spawn

__all__ = ["STOP_GRACE", "Children"]

STOP_GRACE = 1.5
"""Seconds that processes have when the agent goes, whatever their own grace is: stop hooks may take two."""


class Children:
    """Processes by pid, from their start until they have been reaped."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[Child, Hashable]] = {}
        self._starting: Counter[Hashable] = Counter()
        self._counts: Counter[Hashable] = Counter()
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
        most: int,
        stdin: bool,
        stdout: StdoutMode = "pipe",
        stderr: StderrMode = "pipe",
    ) -> Child:
        """Start a process; see :func:`spawn`.

        Args:
            owner: who counts as its starter.
            most: how many this owner may have.

        Raises:
            CallError: see ``Processes.run``.
        """
        if self._stopping:
            raise Unavailable("the agent is about to go, and starts nothing any more")
        if self._counts[owner] >= most:
            raise ResourceExhausted(f"this caller has {most} processes, as many as it may; end one first")
        self._counts[owner] += 1
        try:
            child = await spawn(command, env, grant, stdin=stdin, stdout=stdout, stderr=stderr)
        except BaseException:
            self._forget(None, owner)
            raise
        self._running[child.pid] = (child, owner)
        child.call_when_ended(lambda: self._forget(child.pid, owner))
        return child

    def _forget(self, pid: int | None, owner: Hashable) -> None:
        if pid is not None:
            self._running.pop(pid, None)
        self._counts[owner] -= 1
        if self._counts[owner] <= 0:
            del self._counts[owner]  # an owner may be a peer, which is not to be kept

    async def stop(self, reason: str, message: str) -> None:
        """End them all: the agent goes. A hook of ``Resources.on_stop``."""
        self._stopping = True
        children = [child for child, _ in self._running.values()]
        for child in children:
            child.terminate()
        if children:
            await asyncio.wait([child.exited for child in children], timeout=STOP_GRACE)
        for child in children:
            child.kill()
