"""How far a measurement is, for people who wait.

A few bytes to the terminal twice a second: a progress bar drawn by a library takes milliseconds, which the latencies
that are being measured would show.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from virtagent.bench.load import Recording
from virtagent.bench.streaming import StreamRecording
from virtagent.bench.units import size

__all__ = ["Progress"]

INTERVAL = 0.5


class Progress:
    """A line on standard error, if that is a terminal; ``with`` it around the measurement."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._timer: asyncio.TimerHandle | None = None
        self._name = "connecting"
        self._seconds: float | None = None
        self._recording: Recording | StreamRecording | None = None
        self._began = time.monotonic()

    def watch(self, name: str, seconds: float | None, recording: Recording | StreamRecording | None) -> None:
        """A stretch begins."""
        self._name, self._seconds, self._recording = name, seconds, recording
        self._began = time.monotonic()

    def text(self) -> str:
        """The line."""
        passed = time.monotonic() - self._began
        whole = "" if self._seconds is None else f" of {self._seconds:g}"
        done = ""
        if isinstance(self._recording, Recording):
            done = f", {len(self._recording.samples):,} calls"
        elif self._recording is not None:
            done = f", {size(self._recording.bytes)}"
        return f"{self._name}: {passed:.0f}{whole} s{done}"

    def _show(self) -> None:
        sys.stderr.write(f"\r{self.text()}\033[K")
        sys.stderr.flush()
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._show)

    def __enter__(self) -> None:
        if self._shown:
            self._show()

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
