"""The result of a run: rounds of metrics, failures, and what they depend on; a file of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["Figure", "Result", "SubjectRecord", "UnreadableResult", "load", "save"]

DIGITS = 5
"""Significant digits of a metric in a file; noise is in the third."""


class UnreadableResult(Exception):
    """A file is no result; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class SubjectRecord:
    """What was measured, as the report tells it.

    Attributes:
        name: the first part of its metrics' names.
        peer: its name without the loop's.
        role: "ours", "limit" or "peer".
        loop, channel, usage: how it was used.
        versions: of what it is made of.
    """

    name: str
    peer: str
    role: str
    loop: str
    channel: str
    usage: str
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric over the rounds in which it was measured."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """The median, the smallest and the largest."""
        return cls(median(values), min(values), max(values))

    @property
    def spread(self) -> float:
        """Half of the range, as a share of the median."""
        return (self.high - self.low) / 2 / self.value if self.value else 0.0


@dataclass(slots=True)
class Result:
    """A run.

    Attributes:
        environment: of :func:`virtagent.bench.environment.environment`.
        options: how the run was asked for.
        subjects: what was measured.
        rounds: metrics by ``subject/workload/statistic``, a dictionary for each round.
        failures: by ``subject`` or ``subject/workload``, why it could not be measured, a dictionary for each round.
        seconds: how long the run took.
    """

    environment: dict[str, Any]
    options: dict[str, Any]
    subjects: list[SubjectRecord]
    rounds: list[dict[str, float]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    def figure(self, metric: str) -> Figure | None:
        """A metric over the rounds; None: measured in none."""
        values = [metrics[metric] for metrics in self.rounds if metric in metrics]
        return Figure.of(values) if values else None

    def failed(self) -> dict[str, tuple[int, str]]:
        """What failed, in how many rounds, and why (the last reason)."""
        found: dict[str, tuple[int, str]] = {}
        for failures in self.failures:
            for name, why in failures.items():
                found[name] = (found.get(name, (0, ""))[0] + 1, why)
        return found


def save(result: Result, path: Path) -> None:
    """Write a result; each round on one line, so that a difference of two files can be read."""
    plain = asdict(result)
    plain["rounds"] = [{name: rounded(value) for name, value in sorted(each.items())} for each in result.rounds]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(fields(plain.items())) + "\n}\n")


def fields(items: Iterable[tuple[str, Any]]) -> Iterable[str]:
    for name, value in items:
        if isinstance(value, list):
            lines = ",\n".join(f"  {json.dumps(each)}" for each in value)
            yield f'"{name}": [\n{lines}\n]' if value else f'"{name}": []'
        else:
            yield f'"{name}": {json.dumps(value)}'


def rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def load(path: Path) -> Result:
    """Read a result.

    Raises:
        UnreadableResult: the file cannot be read, or is something else.
    """
    try:
        plain = json.loads(path.read_text())
        result = Result(**plain)
        result.subjects = [SubjectRecord(**each) for each in plain["subjects"]]
    except OSError as error:
        raise UnreadableResult(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise UnreadableResult(f"{path} is no result of benchmarks.side_by_side: {error}") from None
    if not result.rounds:
        raise UnreadableResult(f"{path} has no rounds")
    return result
