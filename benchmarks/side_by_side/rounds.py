"""Interleaved rounds: everything is measured once in each, and begins in another place of the order each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from benchmarks.side_by_side.found import Found, Measurable
from benchmarks.side_by_side.result import Result

__all__ = ["measure_round", "measure_rounds", "rotated"]

T = TypeVar("T")


def rotated(items: Sequence[T], number: int, rounds: int) -> list[T]:
    """The items in their order, beginning with another one in each round, spread evenly over the rounds.

    Args:
        number: of the round, from 0.
        rounds: how many there are.
    """
    if not items:
        return []
    first = number * max(1, len(items) // rounds) % len(items)
    return [*items[first:], *items[:first]]


def measure_round(measurables: Sequence[Measurable], progress: Callable[[str], None]) -> Found:
    """Measure everything once, in this order."""
    yielding: dict[str, float] = {}
    metrics: dict[str, float] = {}
    failures: dict[str, str] = {}
    for each in measurables:
        progress(each.name)
        found = each.measure()
        (yielding if each.yields else metrics).update(found.metrics)
        failures.update(found.failures)
    return Found(yielding | metrics, failures)


def measure_rounds(
    result: Result,
    measurables: Sequence[Measurable],
    rounds: int,
    progress: Callable[[str], None],
    finished: Callable[[Result], None],
) -> None:
    """Add rounds to a result.

    Args:
        progress: is told what is measured now.
        finished: is given the result after each round.
    """
    for number in range(rounds):
        order = rotated(measurables, number, rounds)
        found = measure_round(order, lambda name, number=number: progress(f"round {number + 1} of {rounds}: {name}"))  # type: ignore[misc]
        result.rounds.append(found.metrics)
        result.failures.append(found.failures)
        finished(result)
