"""Rounds for other programs: the servers of a run, kept up between its rounds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from benchmarks.rows.catalogue import measure_round
from benchmarks.rows.servers import Servers
from benchmarks.rows.setting import QUICK, Setting

__all__ = ["Session", "one_round", "session"]


class Session:
    """Measures one round after another."""

    def __init__(self, servers: Servers, scale: float) -> None:
        self._servers = servers
        self._scale = scale
        self._number = 0

    def measure(self) -> dict[str, float]:
        """One round of all rows; in a thread in which no event loop runs."""
        setting = Setting(self._servers, scale=self._scale, number=self._number)
        self._number += 1
        return measure_round(setting)

    async def one_round(self) -> dict[str, float]:
        """The same in a thread of its own, from an event loop. That loop should be idle meanwhile."""
        return await asyncio.to_thread(self.measure)


@contextlib.asynccontextmanager
async def session(*, quick: bool = False) -> AsyncIterator[Session]:
    """A session whose servers end with the block."""
    with Servers() as servers:
        yield Session(servers, QUICK if quick else 1.0)


def one_round(*, quick: bool = False) -> dict[str, float]:
    """A single round of all rows, with servers of its own; in a thread in which no event loop runs."""
    with Servers() as servers:
        return Session(servers, QUICK if quick else 1.0).measure()
