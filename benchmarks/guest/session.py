"""Measuring in rounds: a guest that stays up, and qemu-ga where it is installed."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.guest import against_qemu_ga
from benchmarks.guest.over_virtio import Guest, booted

__all__ = ["Session", "session"]

QUICK = 4
"""By how much a quick round measures less."""


class Session:
    """What is measured in each round.

    Args:
        directory: for sockets, state and files.
        guest: what is measured in the guest; None: nothing.
        qemu_ga: whether qemu-ga is measured.
        quick: measure less.
    """

    def __init__(self, directory: Path, guest: Guest | None, *, qemu_ga: bool, quick: bool) -> None:
        self._directory = directory
        self._guest = guest
        self._qemu_ga = qemu_ga
        self._part = QUICK if quick else 1

    async def one_round(self) -> dict[str, float]:
        """Measure all once; metrics by their flat names."""
        metrics: dict[str, float] = {}
        if self._qemu_ga:
            # In a thread: each subject has an event loop of its own kind, and CPUs are chosen by thread.
            metrics |= await asyncio.to_thread(
                against_qemu_ga.one_round,
                self._directory,
                calls=against_qemu_ga.CALLS // self._part,
                size=against_qemu_ga.SIZE // self._part,
            )
        if self._guest is not None:
            metrics |= await self._guest.one_round(calls=1000 // self._part)
        return metrics


@asynccontextmanager
async def session(*, quick: bool = False, guest: bool = True, qemu_ga: bool = True) -> AsyncIterator[Session]:
    """Boot the guest, if it is wanted, for as many rounds as wanted.

    Args:
        quick: measure less in each round.
        guest, qemu_ga: which of the two to measure.

    Raises:
        HarnessError: the guest cannot be built or does not boot; one line says why.
    """
    with tempfile.TemporaryDirectory(prefix="bench-guest-") as directory:
        if not guest:
            yield Session(Path(directory), None, qemu_ga=qemu_ga, quick=quick)
            return
        async with booted(size=(64 << 20) // (QUICK if quick else 1)) as running:
            yield Session(Path(directory), running, qemu_ga=qemu_ga, quick=quick)
