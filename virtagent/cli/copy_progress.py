"""How far a copy is, with rate and time left: a bar on standard error, if that is a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from virtagent.cli.text import one_line

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["CopyProgress"]


class CopyProgress:
    """``with`` it around copies. Elsewhere than on a terminal it does nothing, and loads nothing."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._progress: Progress | None = None

    def __enter__(self) -> CopyProgress:
        if self._shown:
            from rich.console import Console  # noqa: PLC0415 - slow to load, and for terminals only
            from rich.progress import (  # noqa: PLC0415
                BarColumn,
                DownloadColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                DownloadColumn(binary_units=True),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def of(self, name: str) -> Callable[[int, int | None], None] | None:
        """What is to be called as a copy goes on; None where nothing is shown."""
        progress = self._progress
        if progress is None:
            return None
        task = progress.add_task(one_line(name)[:40], total=None)
        return lambda done, total: progress.update(task, completed=done, total=total)
