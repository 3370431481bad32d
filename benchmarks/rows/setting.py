"""What a row is told: how much to measure, on which event loops, against which servers."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.loops import LOOPS
from benchmarks.rows.servers import Servers

__all__ = ["CPU", "QUICK", "Setting", "pinned", "subject_on", "unpinned"]

T = TypeVar("T")

CPU = max(os.sched_getaffinity(0))
"""Where both ends run of what is measured on one CPU: without the cost of waking another one, the clearest figure."""

QUICK = 0.4
"""The scale of all counts in a quick run."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One round.

    Attributes:
        servers: the other ends.
        loops: event loops to measure on.
        scale: of all counts; 1.0 is what a table is made of.
        number: of the round, from 0: who comes first changes with it.
    """

    servers: Servers
    loops: tuple[str, ...] = LOOPS
    scale: float = 1.0
    number: int = 0

    def count(self, full: int, least: int = 1) -> int:
        """A count, scaled."""
        return max(round(full * self.scale), least)

    def rotated(self, subjects: Sequence[T], by: int = 0) -> list[T]:
        """The subjects, another one first in each round."""
        first = (self.number + by) % len(subjects) if subjects else 0
        return [*subjects[first:], *subjects[:first]]


def subject_on(subject: str, loop: str) -> str:
    """A subject's name in metrics: "ours", "ours uvloop"."""
    return subject if loop == "asyncio" else f"{subject} {loop}"


@contextlib.contextmanager
def unpinned() -> Iterator[None]:
    """Measure, with no garbage of an earlier row to be searched or collected by this one."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def pinned(cpu: int = CPU) -> Iterator[None]:
    """The same with this thread on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        with unpinned():
            yield
    finally:
        os.sched_setaffinity(0, before)
