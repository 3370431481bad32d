"""One-way streams at full speed, in either direction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from virtagent.api.bench import LONGEST_STREAM, MOST_STREAMED, Bench
from virtagent.bench.result import Block, Interval, StreamSeries
from virtagent.bench.summary import BLOCKS, INTERVALS, Cost
from virtagent.bench.timer import SECOND, Timer
from virtagent.peer.peer import Peer
from virtagent.service.streams import TypedStream
from virtagent.service.stub import stub

__all__ = ["StreamRecording", "receive", "send", "summarise_streams"]

STEP = 10_000_000
"""Nanoseconds between two marks of how much has come; 60,000 of them in the longest stream."""


@dataclass(slots=True)
class StreamRecording:
    """One stream. Moments are nanoseconds of this end's clock.

    Attributes:
        bytes: how many arrived; while it is sent: how many were written.
        seconds: from the first to the last, at the receiver; 0: it was cut short.
        marks: moments, and the bytes up to each.
    """

    bytes: int = 0
    seconds: float = 0.0
    marks: list[tuple[int, int]] = field(default_factory=list)

    def add(self, count: int, now: int) -> None:
        """So many bytes more."""
        self.bytes += count
        if not self.marks or now - self.marks[-1][0] >= STEP:
            self.marks.append((now, self.bytes))


async def receive(
    peer: Peer,
    recording: StreamRecording,
    timer: Timer,
    *,
    running: Callable[[], bool],
    chunk: int,
    total: int | None,
) -> None:
    """Read from the guest.

    Args:
        running: asked after each chunk whether to go on.
        total: bytes at most; None: as many as come.

    Raises:
        VirtagentError: the stream or the session failed.
    """
    first = now = 0
    async with TypedStream.of(stub(Bench, peer).source(chunk=chunk, total=total or MOST_STREAMED)) as stream:
        async for data in stream:
            now = timer.now()
            first = first or now
            recording.add(len(data), now)
            if not running():
                break
    recording.seconds = (now - first) / SECOND


async def send(
    peer: Peer,
    recording: StreamRecording,
    timer: Timer,
    *,
    running: Callable[[], bool],
    chunk: int,
    total: int | None,
) -> None:
    """Write to the guest, which tells what came, and when; see :func:`receive`."""
    data, most = bytes(chunk), total or MOST_STREAMED

    async def chunks() -> AsyncIterator[bytes]:
        while recording.bytes < most and running():
            piece = data[: most - recording.bytes]
            recording.add(len(piece), timer.now())
            yield piece

    guest = stub(Bench, peer.with_options(deadline=LONGEST_STREAM))
    told = await guest.sink(chunks())
    recording.bytes = told.bytes
    recording.seconds = (told.last - told.first) / SECOND


def summarise_streams(
    name: str,
    direction: Literal["from guest", "to guest"],
    chunk: int,
    rounds: Sequence[StreamRecording],
    cost: Cost,
) -> StreamSeries:
    """The series that these rounds make."""
    total = sum(each.bytes for each in rounds)
    seconds = sum(each.seconds or marked_seconds(each) for each in rounds)
    cpu_here, cpu_there = cost.per(total)
    blocks, line, passed = [], [], 0.0
    for number, each in enumerate(rounds):
        blocks += [
            Block(round=number, values={"rate": step.count / step.seconds})
            for step in steps(each, BLOCKS // len(rounds))
        ]
        line += [
            Interval(start=passed + step.start, seconds=step.seconds, count=step.count)
            for step in steps(each, INTERVALS // len(rounds))
        ]
        passed += marked_seconds(each)
    return StreamSeries(
        name=name,
        direction=direction,
        chunk=chunk,
        bytes=total,
        seconds=seconds,
        achieved=total / seconds if seconds else 0.0,
        cpu_here=cpu_here,
        cpu_there=cpu_there,
        rss_here=cost.rss_here,
        rss_there=cost.rss_there,
        blocks=blocks,
        time_line=line,
    )


def marked_seconds(recording: StreamRecording) -> float:
    """From the first mark to the last."""
    marks = recording.marks
    return (marks[-1][0] - marks[0][0]) / SECOND if marks else 0.0


def steps(recording: StreamRecording, wanted: int) -> list[Interval]:
    """A stream cut into about ``wanted`` stretches, each from one mark to another."""
    marks = recording.marks
    stride = max(1, -(-(len(marks) - 1) // max(1, wanted)))
    return [
        Interval(start=(begin[0] - marks[0][0]) / SECOND, seconds=(end[0] - begin[0]) / SECOND, count=end[1] - begin[1])
        for begin, end in pairwise(marks[::stride])
        if end[0] > begin[0]
    ]
