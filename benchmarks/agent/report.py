"""Figures as lines, with what is asked for."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

__all__ = ["report"]

_WAYS: Mapping[str, Callable[[float, float], bool]] = {
    "at least": operator.ge,
    "at most": operator.le,
    "below": operator.lt,
}


def report(metrics: Mapping[str, float], limits: Mapping[str, tuple[float, str]]) -> list[str]:
    """A line for each figure.

    Args:
        metrics: figures by name.
        limits: what some of them are to be: a value, and "at least", "at most" or "below".
    """
    lines = []
    for name, value in metrics.items():
        line = f"{name:28} {value:12.2f}"
        if name in limits:
            limit, way = limits[name]
            line += f"   {way} {limit:g}: {'met' if _WAYS[way](value, limit) else 'MISSED'}"
        lines.append(line)
    return lines
