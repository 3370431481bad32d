"""What is counted: each workload of each subject, with its two run lengths and the limit beside it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["QUANTITIES", "WORKLOADS", "Workload", "chosen"]

QUANTITIES = ("instructions", "allocations", "system calls")


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of the table.

    Attributes:
        subject: who does it: "ours", "bare echo" or "prototype"; also names the module that holds both ends.
        name: the workload, such as "sequential 64 B".
        unit: what one of it is: a call, a chunk, a connection.
        lengths: how many of them the shorter and the longer run do; what both runs share cancels out.
        limit: the key of the row that this one is divided by where absolute counts cannot be compared.
        together: the quantities that are counted with both ends in one process and one event loop, so that only their
            sum is known: those that depend on how much one end gets done before the other one runs. That is up to the
            kernel, and changes the cost of a stream by a third; one event loop does it in the same order every time.
    """

    subject: str
    name: str
    unit: str
    lengths: tuple[int, int]
    limit: str | None = None
    together: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The row's name, as ``--only``, the baseline and messages have it."""
        return f"{self.subject}/{self.name}"


WORKLOADS = (
    Workload("bare echo", "sequential 64 B", "call", (320, 1600)),
    Workload("bare echo", "echo 64 KiB", "call", (320, 1600)),
    Workload("bare echo", "stream of 256 KiB chunks", "chunk", (64, 320), together=QUANTITIES),
    Workload("bare echo", "connect and two echoes", "connection", (64, 256)),
    Workload("prototype", "sequential 64 B", "call", (320, 1600)),
    Workload("prototype", "64 in flight", "call", (640, 3200), together=("system calls",)),
    Workload("prototype", "notification", "notification", (640, 3200)),
    Workload("ours", "sequential 64 B", "call", (320, 1600), "bare echo/sequential 64 B"),
    Workload("ours", "64 in flight", "call", (640, 3200), "prototype/64 in flight", ("system calls",)),
    Workload(
        "ours", "64 in flight, coroutine handler", "call", (640, 3200), "prototype/64 in flight", ("system calls",)
    ),
    Workload("ours", "typed call", "call", (320, 1600), "bare echo/sequential 64 B"),
    Workload("ours", "notification", "notification", (640, 3200), "prototype/notification"),
    Workload("ours", "echo 64 KiB", "call", (320, 1600), "bare echo/echo 64 KiB"),
    Workload("ours", "stream of 256 KiB chunks", "chunk", (64, 320), "bare echo/stream of 256 KiB chunks", QUANTITIES),
    Workload("ours", "connect to first answer", "connection", (32, 96), "bare echo/connect and two echoes"),
)


def chosen(words: list[str]) -> list[Workload]:
    """The workloads whose keys hold any of these words, with the limits that they are compared with; all for none.

    Raises:
        ValueError: a word that no workload has.
    """
    if not words:
        return list(WORKLOADS)
    for word in words:
        if not any(word in each.key for each in WORKLOADS):
            raise ValueError(f"no workload has {word!r} in its name; there are: {', '.join(w.key for w in WORKLOADS)}")
    keys = {each.key for each in WORKLOADS if any(word in each.key for word in words)}
    keys |= {each.limit for each in WORKLOADS if each.key in keys and each.limit}
    return [each for each in WORKLOADS if each.key in keys]
