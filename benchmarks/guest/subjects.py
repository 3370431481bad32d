"""What of ours is measured: agent and host library, on each event loop that is installed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from benchmarks.loops import LOOPS, loop_factory
from benchmarks.rows.setting import subject_on

__all__ = ["SUBJECTS", "run"]

T = TypeVar("T")

SUBJECTS = {subject_on("ours", loop): loop for loop in LOOPS}
"""Subjects of metrics, and the event loop at both of their ends."""


def run(subject: str, work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in a new event loop of the subject's kind, in this thread, in which none may run."""
    with asyncio.Runner(loop_factory=loop_factory(SUBJECTS[subject])) as runner:
        return runner.run(work)
