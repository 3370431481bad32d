"""One job: a process whose output is read and kept by the agent."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from msgspec import structs

from virtagent.api.jobs import JobInfo, JobOutput
from virtagent.api.processes import Command, ProcessExited
from virtagent.errors import FailedPrecondition
from virtagent.guest.child import Child
from virtagent.guest.child_input import feed
from virtagent.guest.child_output import ChildOutput
from virtagent.guest.output_ring import OutputRing

__all__ = ["MOST_PER_TURN", "Job"]

MOST_PER_TURN = 1024 * 1024
"""Bytes of a job's output that are read at a time..."""

TURN = 0.01
"""... and the seconds that this takes at least: a job that floods its ring must not keep the agent busy."""

LONGEST_SHOWN = 1024
"""Characters of a command that are shown."""


class Job:
    """A process, and the last of what it wrote.

    Args:
        number: names it.
        command: what was run.
        child: its process.
        keep: bytes of output.
        name: for people.
        owner: who started it.

    Attributes:
        ended: when it had ended and its output was read, by the guest's clock; else None.
        done: set at that moment.
    """

    def __init__(self, number: int, command: Command, child: Child, *, keep: int, name: str, owner: str) -> None:
        self.number = number
        self.owner = owner
        self.child = child
        self.keep = keep
        self._ring = OutputRing(keep)
        self._name = name
        self._shown = (command.shell or shlex.join(command.argv))[:LONGEST_SHOWN]
        self._started = datetime.now(UTC)
        self._exited: ProcessExited | None = None
        self.ended: datetime | None = None
        self._changed = asyncio.Event()
        self._writing = False
        self.done = asyncio.get_running_loop().create_task(self._read(), name=f"job {number}")

    def info(self, *, command: bool) -> JobInfo:
        """What there is to tell.

        Args:
            command: tell what was run.
        """
        return JobInfo(
            job=self.number,
            state="running" if self._exited is None else "exited",
            pid=self.child.pid,
            started=self._started,
            written=self._ring.written,
            kept_from=self._ring.kept_from,
            name=self._name,
            command=self._shown if command else "",
            ended=self.ended,
            exited=self._exited,
            stdin="stdin" in self.child.descriptors,
            terminal=self.child.terminal,
            owner=self.owner,
        )

    @property
    def running(self) -> bool:
        """It has not ended, or its last output has not been read."""
        return self._exited is None

    async def _read(self) -> None:
        output = ChildOutput(self.child)
        loop = asyncio.get_running_loop()
        begun, taken = loop.time(), 0
        while (piece := await output.next()) is not None:
            self._ring.write(piece[0], piece[1])
            self._tell()
            taken += len(piece[1])
            if taken >= MOST_PER_TURN:
                await asyncio.sleep(max(0.0, begun + TURN - loop.time()))
                begun, taken = loop.time(), 0
        exited = await self.child.exited
        self.child.close()
        self._exited = structs.replace(exited, held=output.held)
        self.ended = datetime.now(UTC)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def output(self, offset: int, *, follow: bool) -> AsyncIterator[JobOutput]:
        """Pieces from an offset on, to the end of the job or of what there is."""
        while True:
            changed = self._changed
            piece = self._ring.read(offset)
            if piece is not None:
                offset = piece.offset + len(piece.data)
                if piece.source == "stdout":
                    yield JobOutput(offset=piece.offset, stdout=piece.data, lost=piece.lost)
                else:
                    yield JobOutput(offset=piece.offset, stderr=piece.data, lost=piece.lost)
            elif self._exited is not None:
                yield JobOutput(offset=self._ring.written, exited=self._exited)
                return
            elif follow:
                await changed.wait()
            else:
                return

    async def write(self, data: AsyncIterator[bytes], *, close: bool) -> int:
        """Write to its stdin.

        Raises:
            FailedPrecondition: that is not open, or someone else writes.
        """
        if "stdin" not in self.child.descriptors:
            raise FailedPrecondition(
                f"the stdin of job {self.number} is closed; start it with stdin=True to keep it open"
            )
        if self._writing:
            raise FailedPrecondition(f"another caller writes to job {self.number}; wait for it, or end that call")
        self._writing = True
        try:
            return await feed(self.child, data, close=close)
        finally:
            self._writing = False
