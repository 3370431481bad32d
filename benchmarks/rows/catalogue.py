"""The kinds of rows, by name."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.rows import connect, notifications, payload, pipelined, sequential, starts, stream, typed
from benchmarks.rows.setting import Setting

__all__ = ["KINDS", "measure_round"]

KINDS: dict[str, Callable[[Setting], dict[str, float]]] = {
    "sequential": sequential.measure,
    "pipelined": pipelined.measure,
    "typed": typed.measure,
    "payload": payload.measure,
    "notifications": notifications.measure,
    "connect": connect.measure,
    "stream": stream.measure,
    "starts": starts.measure,
}
"""What measures each kind: one round's metrics."""


def measure_round(setting: Setting, only: tuple[str, ...] = ()) -> dict[str, float]:
    """One round of all kinds, or of some."""
    metrics: dict[str, float] = {}
    for name, measure in KINDS.items():
        if not only or name in only:
            metrics |= measure(setting)
    return metrics
