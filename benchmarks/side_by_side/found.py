"""What one measurement in one round gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Found", "Measurable", "reason"]


@dataclass(frozen=True, slots=True)
class Found:
    """Metrics by their full names, and what failed: why, by ``subject`` or ``subject/workload``."""

    metrics: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measurable:
    """Something that is measured once in each round.

    Attributes:
        name: for people.
        measure: measures it; it does not raise.
        yields: where another one has measured the same metric in the round, that one counts.
    """

    name: str
    measure: Callable[[], Found]
    yields: bool = False


def reason(error: BaseException) -> str:
    """One line that says what went wrong."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
