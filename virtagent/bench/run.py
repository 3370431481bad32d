"""One run: its options, what it has measured so far, and the result that this makes, however early it ended."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any, Literal, TypeAlias

import msgspec

from virtagent.api.bench import Environment
from virtagent.bench.arrivals import Arrivals
from virtagent.bench.clocks import ClockEstimate, estimate_clock
from virtagent.bench.environment import environment
from virtagent.bench.load import Recording
from virtagent.bench.result import SCHEMA, Result
from virtagent.bench.samples import Samples
from virtagent.bench.streaming import StreamRecording, summarise_streams
from virtagent.bench.subject import Subject, usage_of
from virtagent.bench.summary import Cost, Plan, Split, call_phases, summarise
from virtagent.guest.cost import resident_memory
from virtagent.peer.peer import Peer

__all__ = ["Direction", "Measured", "MeasuredStream", "Options", "Run", "Watch"]

Watch: TypeAlias = "Callable[[str, float | None, Recording | StreamRecording | None], None]"

Direction = Literal["from guest", "to guest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is to be measured.

    Attributes:
        seconds: of each measurement; None: until ``count``.
        count: calls (bytes of a stream) of each measurement at most; None: no bound of its own.
        warmup: seconds of the same load before each measurement that are not measured.
        rounds: how often all is measured, each time on a new connection.
        size: bytes of an echo's payload.
        rate: calls per second of an open loop; None: a closed loop.
        arrivals: of the open loop.
        in_flight: calls under way at most; several for ``throughput``.
        chunk: bytes of each piece of a stream; None: what fits a frame of the channel.
        directions: of streams.
    """

    seconds: float | None = 10.0
    count: int | None = None
    warmup: float = 1.0
    rounds: int = 1
    size: int = 64
    rate: float | None = None
    arrivals: Arrivals = "constant"
    in_flight: tuple[int, ...] = (1,)
    chunk: int | None = None
    directions: tuple[Direction, ...] = ("from guest", "to guest")


@dataclass(slots=True)
class Measured:
    """A load, its rounds so far, and what they cost."""

    plan: Plan
    rounds: list[Recording] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)


@dataclass(slots=True)
class MeasuredStream:
    """A stream, its rounds so far, and what they cost."""

    name: str
    direction: Direction
    chunk: int
    rounds: list[StreamRecording] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)


class Run:
    """Collects what a workload measures.

    Args:
        subject: what is measured.
        workload: its name.
        options: what is to be measured.
        watch: told of each stretch as it begins: its name, its seconds if they are known, and what it records.
        split: what the latencies of this workload are made of.

    Attributes:
        there: the other end's environment, once it is known.
    """

    def __init__(
        self,
        subject: Subject,
        workload: str,
        options: Options,
        *,
        watch: Watch = lambda name, seconds, recording: None,
        split: Split = call_phases,
    ) -> None:
        self.subject = subject
        self.options = options
        self.watch = watch
        self.there: Environment | None = None
        self._workload = workload
        self._split = split
        self._date = datetime.now(UTC)
        self._here = environment()
        self._calls: dict[str, Measured] = {}
        self._streams: dict[str, MeasuredStream] = {}

    def calls(self, plan: Plan) -> Measured:
        """What is measured under this load, in all rounds."""
        return self._calls.setdefault(plan.name, Measured(plan))

    def stream(self, name: str, direction: Direction, chunk: int) -> MeasuredStream:
        """What is measured of this stream, in all rounds."""
        return self._streams.setdefault(name, MeasuredStream(name, direction, chunk))

    @property
    def first_error(self) -> str:
        """What the first failed call said; "": none failed."""
        samples = (recording.samples for each in self._calls.values() for recording in each.rounds)
        return next((each.first_error for each in samples if each.first_error), "")

    @asynccontextmanager
    async def charged(self, peer: Peer, *costs: Cost) -> AsyncIterator[None]:
        """What both ends spend in this block is added to the costs; the other end's only if the block ends well."""
        before, began = await usage_of(peer), time.process_time()
        try:
            yield
        finally:
            for cost in costs:
                cost.here = (cost.here or 0.0) + time.process_time() - began
                cost.rss_here = resident_memory()
        after = await usage_of(peer)
        for cost in costs:
            cost.there = (cost.there or 0.0) + after.cpu - before.cpu
            cost.rss_there = after.rss

    def result(self, interrupted: str = "") -> Result:
        """What has been measured so far.

        Args:
            interrupted: why the run ends early; "": it does not.
        """
        there: dict[str, Any] = {} if self.there is None else msgspec.json.decode(msgspec.json.encode(self.there))
        same = bool(there) and bool(there["boot_id"]) and there["boot_id"] == self._here["boot_id"]
        clocks = self._clocks(same_machine=same)
        return Result(
            schema=SCHEMA,
            workload=self._workload,
            target=self.subject.name,
            url=self.subject.url,
            date=self._date,
            options=asdict(self.options),
            here=self._here,
            there=there,
            calls=[
                summarise(each.plan, each.rounds, each.cost, clocks, split=self._split)
                for each in self._calls.values()
                if each.rounds
            ],
            streams=[
                summarise_streams(each.name, each.direction, each.chunk, each.rounds, each.cost)
                for each in self._streams.values()
                if any(recording.bytes for recording in each.rounds)
            ],
            interrupted=interrupted,
        )

    def _clocks(self, *, same_machine: bool) -> list[ClockEstimate | None]:
        """The callee's clock in each round: one connection, whose calls under the lightest load tell it best."""
        recorded = [[recording.samples for recording in each.rounds] for each in self._calls.values()]
        by_round = zip_longest(*recorded, fillvalue=Samples())
        return [estimate_clock(each, same_machine=same_machine) for each in by_round]
