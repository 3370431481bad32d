"""A result: what ``--json`` prints and ``--save`` writes, what comparisons and plots read (docs/bench.md)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from virtagent.bench.clocks import ClockEstimate
from virtagent.bench.distribution import Distribution
from virtagent.errors import UsageError

__all__ = ["SCHEMA", "Block", "CallSeries", "Interval", "Result", "StreamSeries", "load_result"]

SCHEMA: Literal["virtagent-bench/1"] = "virtagent-bench/1"
"""The number grows when old readers would misread a result; new fields alone do not change it."""

LARGEST_FILE = 256 * 1024 * 1024


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a run, one of about 30: what the bootstrap of a comparison draws from.

    Attributes:
        values: such as ``p50`` and ``p99`` in nanoseconds, ``rate`` in calls or bytes per second.
        round: of which round it is a part.
    """

    round: int
    values: dict[str, float]


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A step of the time line.

    Attributes:
        start: seconds since the measurement began.
        seconds: how long it is.
        count: calls that were made, or bytes that came, in it.
        p50, p99, max: latency in nanoseconds; None: no calls.
    """

    start: float
    seconds: float
    count: int
    p50: int | None = None
    p99: int | None = None
    max: int | None = None


class CallSeries(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that were measured under one load.

    Attributes:
        name: such as "latency" or "64 in flight"; runs are compared by it.
        loop: "open": by the clock; "closed": the next one when one is answered.
        rate: calls per second that were asked for; None: as many as possible.
        arrivals: of an open loop: "constant" or "poisson".
        in_flight: calls under way at most.
        size: bytes of the payload.
        count: calls that were answered.
        errors: calls that were answered with an error, by its class.
        seconds: how long it took, warm-up not counted.
        achieved: calls per second.
        sustained: whether the rate that was asked for was kept; always true of a closed loop.
        latency: from the moment when a call should have been made to its answer.
        phases: what latency is made of: ``queue`` (waiting here to be sent), ``wire_out`` (from here until the callee
            read it), ``callee_queue`` (waiting there for other handlers), ``handler``, ``wire_back``; and ``wire``,
            both ways together, which no clock has to be estimated for. For connects: ``open`` and ``first_answer``.
        cpu_here, cpu_there: seconds of CPU per call; None: not known.
        rss_here, rss_there: bytes of memory at the end.
        clock: the callee's clock.
        blocks: stretches of it, for comparisons.
        time_line: latency over time.
    """

    name: str
    loop: Literal["open", "closed"]
    in_flight: int
    size: int
    count: int
    seconds: float
    achieved: float
    latency: Distribution | None
    rate: float | None = None
    arrivals: str = ""
    errors: dict[str, int] = {}
    sustained: bool = True
    phases: dict[str, Distribution] = {}
    cpu_here: float | None = None
    cpu_there: float | None = None
    rss_here: int | None = None
    rss_there: int | None = None
    clock: ClockEstimate | None = None
    blocks: list[Block] = []
    time_line: list[Interval] = []


class StreamSeries(msgspec.Struct, frozen=True, kw_only=True):
    """A stream in one direction.

    Attributes:
        direction: "from guest" or "to guest".
        chunk: bytes of each piece that was written.
        bytes: how many arrived.
        seconds: from the first to the last of them, at the receiver.
        achieved: bytes per second.
        cpu_here, cpu_there: seconds of CPU per byte.
    """

    name: str
    direction: Literal["from guest", "to guest"]
    chunk: int
    bytes: int
    seconds: float
    achieved: float
    cpu_here: float | None = None
    cpu_there: float | None = None
    rss_here: int | None = None
    rss_there: int | None = None
    blocks: list[Block] = []
    time_line: list[Interval] = []


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of ``virtagent bench`` measured.

    Attributes:
        schema: :data:`SCHEMA`.
        workload: "latency", "throughput", "stream", "mixed" or "connect".
        target: the guest as it was named, and ``url``.
        date: when the run began.
        options: what was asked for.
        here, there: the environments of both ends; ``there`` is empty if it could not be told.
        interrupted: why the run ended early; "": it did not.
    """

    schema: Literal["virtagent-bench/1"]
    workload: str
    target: str
    url: str
    date: datetime
    options: dict[str, Any] = {}
    here: dict[str, Any] = {}
    there: dict[str, Any] = {}
    calls: list[CallSeries] = []
    streams: list[StreamSeries] = []
    interrupted: str = ""

    @property
    def sustained(self) -> bool:
        """Whether every rate that was asked for was kept."""
        return all(each.sustained for each in self.calls)


def load_result(path: str) -> Result:
    """Read a result.

    Raises:
        UsageError: there is no such file, or it holds something else.
    """
    try:
        file = Path(path)
        if file.stat().st_size > LARGEST_FILE:
            raise UsageError(f"{path} is larger than any result of virtagent bench; give a file that --save wrote")
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return msgspec.json.decode(data, type=Result)
    except (msgspec.DecodeError, RecursionError) as error:
        text = str(error).replace("\n", " ")
        raise UsageError(f"{path} is no result of virtagent bench ({text}); give a file that --save wrote") from None
