"""Figures made of a round's metrics: one metric, a quotient of two, the best of several subjects."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["Best", "Expression", "Metric", "MissingMetric", "Quotient"]

OWN_SUBJECTS = frozenset({"ours", "daemon"})
LIMITS = frozenset(
    {"bare echo", "prototype", "C ping-pong", "raw copy", "bare process", "guest channel echo", "guest channel"}
)
"""Subjects that are no peers: what is possible, not what others do."""

BLOCKING_PEERS = frozenset({"multiprocessing.connection", "thriftpy2", "rpyc", "mprpc", "zerorpc", "qemu-ga"})
"""Peers whose callers block, or switch greenlets, instead of running an asyncio loop."""


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
    """The best of all subjects that were measured and are peers, limits and ourselves excepted.

    Attributes:
        metric: ``workload/statistic``.
        better: which value is better.
        blocking: whether peers that block count, too.
    """

    metric: str
    better: Literal["lower", "higher"]
    blocking: bool = False

    def value(self, metrics: Mapping[str, float]) -> float:
        return metrics[self._best(metrics)]

    def source(self, metrics: Mapping[str, float]) -> str:
        return self._best(metrics).split("/")[0]

    def _best(self, metrics: Mapping[str, float]) -> str:
        suffix = f"/{self.metric}"
        subjects = {name.removesuffix(suffix): name for name in metrics if name.endswith(suffix)}
        peers = {subject: name for subject, name in subjects.items() if is_peer(subject)}
        # A run with no asyncio peer in it is no comparison with peers: it only has the blocking one, as a limit.
        if not any(base(subject) not in BLOCKING_PEERS for subject in peers):
            raise MissingMetric(f"any peer's {self.metric}")
        names = [name for subject, name in peers.items() if self.blocking or base(subject) not in BLOCKING_PEERS]
        return (min if self.better == "lower" else max)(names, key=lambda name: metrics[name])


def base(subject: str) -> str:
    """A subject without its loop's name."""
    return subject.removesuffix(" uvloop")


def is_peer(subject: str) -> bool:
    """Whether it is somebody else's library."""
    return base(subject) not in OWN_SUBJECTS | LIMITS and "/" not in subject
