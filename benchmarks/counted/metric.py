"""The name of a counted cost, such as "ours uvloop/typed call/server instructions"."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.counted.workloads import QUANTITIES, WORKLOADS

__all__ = ["ENDS", "LOOPS", "Metric"]

LOOPS = ("asyncio", "uvloop")
ENDS = ("client", "server", "sum")

LIMITS = {workload.key: workload.limit for workload in WORKLOADS}


@dataclass(frozen=True, slots=True)
class Metric:
    """One cost of one workload.

    Attributes:
        key: the workload's key.
        loop: the event loop; it is named in the subject unless it is asyncio's.
        end: "client", "server" or "sum".
        quantity: what is counted.
    """

    key: str
    loop: str
    end: str
    quantity: str

    @property
    def row(self) -> str:
        """The row in the table that it belongs to."""
        subject, workload = self.key.split("/")
        return self.key if self.loop == "asyncio" else f"{subject} {self.loop}/{workload}"

    @property
    def name(self) -> str:
        """Its flat name."""
        return f"{self.row}/{self.end} {self.quantity}"

    @classmethod
    def parse(cls, name: str) -> Metric:
        """The metric of a flat name.

        Raises:
            ValueError: it is no such name.
        """
        try:
            subject, workload, statistic = name.split("/")
            end, quantity = statistic.split(" ", 1)
        except ValueError:
            raise ValueError(f"{name!r} is no counted cost") from None
        loop = "uvloop" if subject.endswith(" uvloop") else "asyncio"
        if end not in ENDS or quantity not in QUANTITIES:
            raise ValueError(f"{name!r} is no counted cost")
        return cls(f"{subject.removesuffix(' uvloop')}/{workload}", loop, end, quantity)

    @property
    def limit(self) -> Metric | None:
        """The same cost of the limit that its workload is compared with; None for a limit itself."""
        limit = LIMITS.get(self.key)
        return None if limit is None else replace(self, key=limit)
