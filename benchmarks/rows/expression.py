"""Figures made of a round's metrics: one metric, a quotient of two, the best of several subjects."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.peers.roster import PEERS

__all__ = ["Best", "Expression", "Metric", "MissingMetric", "Quotient"]

ASYNCIO_LOOPS = {"asyncio", "uvloop", "own asyncio"}

ALL_PEERS = frozenset(peer.name for peer in PEERS if peer.role == "peer")
"""Other libraries; what else is measured is ours, or a limit."""

ASYNCIO_PEERS = frozenset(peer.name for peer in PEERS if peer.role == "peer" and ASYNCIO_LOOPS & {*peer.loops})
"""Those whose callers await instead of blocking."""


class MissingMetric(Exception):
    """A metric that a figure needs was not measured; the text is its name."""


class Expression(ABC):
    """A figure of one round."""

    @abstractmethod
    def value(self, metrics: Mapping[str, float]) -> float:
        """The figure.

        Raises:
            MissingMetric: something that it needs was not measured.
        """

    @abstractmethod
    def source(self, metrics: Mapping[str, float]) -> str:
        """Where the figure comes from, for people: a subject's name. Raises as :meth:`value` does."""


@dataclass(frozen=True, slots=True)
class Metric(Expression):
    """One metric, ``subject/workload/statistic``."""

    name: str

    def value(self, metrics: Mapping[str, float]) -> float:
        try:
            return metrics[self.name]
        except KeyError:
            raise MissingMetric(self.name) from None

    def source(self, metrics: Mapping[str, float]) -> str:
        return self.name.split("/")[0]


@dataclass(frozen=True, slots=True)
class Quotient(Expression):
    """One figure divided by another."""

    above: Expression
    below: Expression

    def value(self, metrics: Mapping[str, float]) -> float:
        above, below = self.above.value(metrics), self.below.value(metrics)
        if below == 0:
            raise MissingMetric(f"{self.below} is 0")
        return above / below

    def source(self, metrics: Mapping[str, float]) -> str:
        return self.above.source(metrics)


@dataclass(frozen=True, slots=True)
class Best(Expression):
    """The best of the other libraries that were measured.

    Attributes:
        metric: ``workload/statistic``.
        better: which value is better.
        uvloop: whether their figures on uvloop count, too: against ours on uvloop they do.
        blocking: whether libraries that block count, too.
    """

    metric: str
    better: Literal["lower", "higher"]
    uvloop: bool = False
    blocking: bool = False

    def value(self, metrics: Mapping[str, float]) -> float:
        return metrics[self._best(metrics)]

    def source(self, metrics: Mapping[str, float]) -> str:
        return self._best(metrics).split("/")[0]

    def _best(self, metrics: Mapping[str, float]) -> str:
        candidates = set(self._candidates(ASYNCIO_PEERS)) & metrics.keys()
        # Without any asyncio library in it a run compares us with a limit, not with other libraries.
        if not candidates:
            raise MissingMetric(f"{self.metric} of an asyncio library")
        if self.blocking:
            candidates |= set(self._candidates(ALL_PEERS)) & metrics.keys()
        return (min if self.better == "lower" else max)(sorted(candidates), key=lambda name: metrics[name])

    def _candidates(self, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            yield f"{name}/{self.metric}"
            if self.uvloop:
                yield f"{name} uvloop/{self.metric}"
