"""One QEMU process with its directory, its console and the rule that nothing is awaited of it without bound."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .console import Console
from .errors import HarnessError, MachineDied, MachineTimeout

T = TypeVar("T")


class Process:
    """QEMU, from `start` to `stop`; its sockets live in `directory` (short: a unix path has at most 107 bytes)."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="vm-"))
        self.console = Console()
        self._stderr = (self.directory / "stderr").open("a+b")
        self._running: asyncio.subprocess.Process | None = None
        self._following: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[int] | None = None

    async def start(self, command: Sequence[str]) -> None:
        """Run `command`; its standard output is the guest's console."""
        self._running = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=self._stderr
        )
        assert self._running.stdout is not None
        self._following = asyncio.create_task(self.console.follow(self._running.stdout))
        self._ending = asyncio.create_task(self._running.wait())

    async def bounded(self, what: str, awaited: Coroutine[Any, Any, T], timeout: float) -> T:
        """Return what `awaited` returns; raise MachineTimeout after `timeout` seconds, MachineDied if QEMU ends."""
        if self._ending is None:
            awaited.close()
            raise HarnessError("the machine was not started")
        task = asyncio.create_task(awaited)
        try:
            await asyncio.wait({task, self._ending}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if task.done() and not isinstance(task.exception(), MachineDied):
                return task.result()
            if task.done() or self._ending.done():
                raise MachineDied(f"QEMU ended while this was awaited: {what}\n{self._story()}")
            raise MachineTimeout(f"did not happen in {timeout:g} s: {what}\n{self._story()}")
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def exited(self, timeout: float) -> int:
        """Wait for QEMU to end by itself and return its exit status; the console is then complete."""
        if self._ending is None or self._following is None:
            raise HarnessError("the machine was not started")
        await asyncio.wait({self._ending}, timeout=timeout)
        if not self._ending.done():
            raise MachineTimeout(f"did not happen in {timeout:g} s: the end of QEMU\n{self._story()}")
        await self._following
        return self._ending.result()

    async def stop(self) -> None:
        """Kill QEMU by its process id, if it still runs, and remove its directory. Idempotent."""
        if self._running is not None and self._ending is not None and self._following is not None:
            if not self._ending.done():
                with contextlib.suppress(ProcessLookupError):
                    self._running.kill()
            await asyncio.gather(self._ending, self._following, return_exceptions=True)
        self._stderr.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _story(self) -> str:
        self._stderr.seek(0)
        if complaint := self._stderr.read().decode(errors="replace").strip():
            return f"QEMU says:\n{complaint}\nThe console ends with:\n{self.console.tail()}"
        return f"The console ends with:\n{self.console.tail()}"


async def check_call(*command: str, timeout: float = 30.0) -> None:
    """Run a short host command; HarnessError with its complaint if it fails or takes longer than `timeout` seconds."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, complaint = await asyncio.wait_for(process.communicate(), timeout)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise HarnessError(f"{' '.join(command)}: {complaint.decode(errors='replace').strip()}")
