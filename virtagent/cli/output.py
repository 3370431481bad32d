"""Standard output that never blocks the event loop, and standard error with one line for an error."""

from __future__ import annotations

import os
import stat
import sys
from typing import TextIO

from virtagent.cli.text import harmless

__all__ = ["Output", "coloured", "complain", "say"]


def say(text: str) -> None:
    """A line of a result that is short and at hand."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """One line on standard error; names that a guest gave are often in it."""
    sys.stderr.write(f"virtagent: {harmless(text)}\n")
    sys.stderr.flush()


def coloured() -> bool:
    """Whether people look at the output, and want colours (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Output:
    """What a stream is written to. A pipe's reader may be slow (``| less``): its writes block a thread of their own.

    Args:
        stream: standard output, or standard error.

    Raises, when written to:
        BrokenPipeError: the reader has left.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - few commands need it

        stream = stream or sys.stdout
        stream.flush()
        self._descriptor = stream.fileno()
        self._blocks = not stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="virtagent-output") if self._blocks else None

    async def write(self, data: bytes) -> None:
        """Write all of it."""
        if self._writer is None:
            self._write(data)
        else:
            import asyncio  # noqa: PLC0415 - run() chooses how it is loaded

            await asyncio.get_running_loop().run_in_executor(self._writer, self._write, data)

    async def line(self, text: str) -> None:
        """Write a line of text."""
        await self.write(text.encode(errors="backslashreplace") + b"\n")

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
