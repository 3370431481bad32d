"""QEMU's machine protocol over a unix socket (qemu.git docs/interop/qmp-spec.rst): commands and awaited events."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import HarnessError, MachineDied

_LINE_LIMIT = 1 << 24
_EVENTS_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Event:
    """One asynchronous event, such as RESET or VSERPORT_CHANGE."""

    name: str
    data: dict[str, Any]


Match = Callable[[Event], bool]


class Qmp:
    """We listen and QEMU connects, so that its greeting says, without polling, that every other socket listens.

    Cancelling a wait leaves the connection usable: a late answer is dropped, an event stays for the next wait.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._server: asyncio.Server | None = None
        self._connected: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
        self._connected = asyncio.get_running_loop().create_future()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._events: deque[Event] = deque(maxlen=_EVENTS_KEPT)
        self._waiting: list[tuple[Match, asyncio.Future[Event]]] = []
        self._last_id = 0

    async def listen(self) -> None:
        """Bind the socket; to be called before QEMU starts."""
        self._server = await asyncio.start_unix_server(self._accept, self.path, limit=_LINE_LIMIT)

    async def negotiate(self) -> None:
        """Wait for QEMU's greeting and enter command mode."""
        reader, self._writer = await asyncio.shield(self._connected)
        await reader.readline()
        self._reading = asyncio.create_task(self._read(reader))
        await self.execute("qmp_capabilities")

    async def execute(self, command: str, /, **arguments: Any) -> Any:
        """Run one command and return its result; HarnessError if QEMU refuses, MachineDied if it is gone.

        Underscores in argument names stand for QMP's hyphens.
        """
        if self._writer is None or self._reading is None or self._reading.done():
            raise MachineDied(f"QEMU is gone, cannot execute {command}")
        self._last_id = number = self._last_id + 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        hyphened = {name.replace("_", "-"): value for name, value in arguments.items()}
        request = {"execute": command, "arguments": hyphened, "id": number}
        self._writer.write(json.dumps(request).encode() + b"\n")
        try:
            return await answer
        finally:
            del self._answers[number]

    async def monitor(self, line: str) -> str:
        """Run one line of the human monitor and return what it printed (savevm and loadvm print only errors)."""
        printed: str = await self.execute("human-monitor-command", command_line=line)
        return printed.strip()

    async def event(self, name: str, match: Match = lambda _: True) -> Event:
        """Return the oldest event `name` not yet returned for which `match` holds, waiting for one if need be."""

        def wanted(event: Event) -> bool:
            return event.name == name and match(event)

        for event in self._events:
            if wanted(event):
                self._events.remove(event)
                return event
        if self._reading is None or self._reading.done():
            raise MachineDied(f"QEMU is gone, there will be no {name}")
        waiter: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, waiter))
        return await waiter

    def forget_events(self) -> None:
        """Drop the events nobody has asked for, so that the next wait sees only new ones."""
        self._events.clear()

    async def close(self) -> None:
        """Close the connection; waits in progress fail with MachineDied."""
        if self._server is not None:
            self._server.close()
        if not self._connected.done():
            self._connected.cancel()
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connected.done():
            writer.close()
        else:
            self._connected.set_result((reader, writer))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            with contextlib.suppress(OSError):
                while line := await reader.readline():
                    self._dispatch(json.loads(line))
        finally:
            waiters = [*self._answers.values(), *(waiter for _, waiter in self._waiting)]
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(MachineDied("QEMU closed its monitor"))

    def _dispatch(self, message: dict[str, Any]) -> None:
        if "event" in message:
            self._deliver(Event(message["event"], message.get("data", {})))
            return
        answer = self._answers.get(message.get("id", 0))
        if answer is None or answer.done():
            return
        if "error" in message:
            answer.set_exception(HarnessError(f"QEMU: {message['error']['desc']}"))
        else:
            answer.set_result(message.get("return"))

    def _deliver(self, event: Event) -> None:
        self._waiting = [(wanted, waiter) for wanted, waiter in self._waiting if not waiter.done()]
        for wanted, waiter in self._waiting:
            if wanted(event):
                waiter.set_result(event)
                return
        self._events.append(event)
