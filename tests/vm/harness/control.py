"""The host's end of the guest's control shell (guest/control.py): Python source in, values out."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

from .errors import GuestError, HarnessError, MachineDied

_LINE_LIMIT = 1 << 28


class Control:
    """One connection for the life of the machine: over a reset a virtio port shows the host nothing."""

    def __init__(self) -> None:
        self.boots: asyncio.Queue[str] = asyncio.Queue()
        """The kernel's boot id, once for every time the control shell came up."""
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    async def connect(self, path: Path) -> None:
        """Connect to the chardev socket `path`."""
        reader, self._writer = await asyncio.open_unix_connection(path, limit=_LINE_LIMIT)
        self._reading = asyncio.create_task(self._read(reader))

    def forget_boots(self) -> None:
        """Drop the boots nobody waited for, so that the next one awaited is a new one."""
        while not self.boots.empty():
            self.boots.get_nowait()

    def send(self, source: str) -> int:
        """Have `source` run without waiting for an answer; returns the id of the request."""
        if self._writer is None or self._reading is None or self._reading.done():
            raise MachineDied("the control port is closed: QEMU is gone")
        self._last_id += 1
        # the line break in front ends what an earlier boot of the guest may have left half read
        self._writer.write(b"\n" + json.dumps({"id": self._last_id, "source": source}).encode() + b"\n")
        return self._last_id

    async def run(self, source: str) -> Any:
        """Run `source` and return the value of its last expression, which must be a Python literal.

        Raises GuestError with the guest's traceback. Cancelled, the source still runs to its end in the guest.
        """
        number = self.send(source)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            return await answer
        finally:
            del self._answers[number]

    async def close(self) -> None:
        """Close the connection; runs in progress fail with MachineDied."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            with contextlib.suppress(OSError):
                while line := await reader.readline():
                    with contextlib.suppress(ValueError):  # a line that a reset cut short
                        self._dispatch(json.loads(line))
        finally:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(MachineDied("QEMU closed the control port"))

    def _dispatch(self, message: dict[str, Any]) -> None:
        if "boot" in message:
            self.boots.put_nowait(message["boot"])
            return
        answer = self._answers.get(message["id"])
        if answer is None or answer.done():
            return
        if "error" in message:
            answer.set_exception(GuestError(message["error"]))
            return
        try:
            answer.set_result(ast.literal_eval(message["value"]))
        except (ValueError, SyntaxError):
            answer.set_exception(HarnessError(f"the guest answered no literal: {message['value']}"))
