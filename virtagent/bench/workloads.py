"""What ``virtagent bench`` can measure: latency, throughput, streams, both at once, connecting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, nullcontext
from time import process_time
from typing import TypeAlias

from virtagent.bench.arrivals import arrivals
from virtagent.bench.load import Recording, closed_loop, first_failure, open_loop
from virtagent.bench.run import Direction, Measured, Run
from virtagent.bench.streaming import StreamRecording, receive, send
from virtagent.bench.subject import echo, environment_of, largest_frame, most_calls, usage_of
from virtagent.bench.summary import Plan
from virtagent.bench.timer import SECOND, Timer
from virtagent.errors import SessionLost, UsageError
from virtagent.peer.peer import Peer
from virtagent.peer.state import PeerState

__all__ = ["WORKLOADS"]

Step: TypeAlias = "Callable[[Peer, Timer], Awaitable[None]]"

MOVES = {"from guest": receive, "to guest": send}


async def latency(run: Run) -> None:
    """Echoes: in an open loop where a rate was asked for, else in a closed one."""

    async def one_round(peer: Peer, timer: Timer) -> None:
        await measure_calls(run, peer, timer, [plan_of(run, peer, "latency")])

    await each_round(run, one_round)


async def throughput(run: Run) -> None:
    """Echoes in closed loops of several widths."""
    plans = [Plan(name=f"{width} in flight", size=run.options.size, in_flight=width) for width in run.options.in_flight]

    async def one_round(peer: Peer, timer: Timer) -> None:
        await measure_calls(run, peer, timer, plans)

    await each_round(run, one_round)


async def stream(run: Run) -> None:
    """Streams, one direction after the other."""

    async def one_round(peer: Peer, timer: Timer) -> None:
        chunk = run.options.chunk or largest_frame(peer)
        for direction in run.options.directions:
            if run.options.warmup:
                run.watch("warm-up", run.options.warmup, None)
                await move(run, peer, timer, direction, StreamRecording(), for_seconds(timer, run.options.warmup))
            measured, recording = run.stream(direction, direction, chunk), StreamRecording()
            measured.rounds.append(recording)
            run.watch(f"stream {direction}", run.options.seconds, recording)
            async with run.charged(peer, measured.cost):
                await move(run, peer, timer, direction, recording, for_seconds(timer, run.options.seconds))

    await each_round(run, one_round)


async def mixed(run: Run) -> None:
    """Echoes without and with streams at full speed beside them."""

    async def one_round(peer: Peer, timer: Timer) -> None:
        await measure_calls(run, peer, timer, [plan_of(run, peer, "idle")])
        done = asyncio.Event()
        chunk = run.options.chunk or largest_frame(peer)
        async with first_failure(), asyncio.TaskGroup() as group:
            for direction in run.options.directions:
                recording = StreamRecording()
                run.stream(f"{direction}, beside calls", direction, chunk).rounds.append(recording)
                group.create_task(move(run, peer, timer, direction, recording, lambda: not done.is_set()))
            try:
                await measure_calls(run, peer, timer, [plan_of(run, peer, "during streams")], charge=False)
            finally:
                done.set()

    await each_round(run, one_round)


async def connect(run: Run) -> None:
    """Connecting, up to the first answer, again and again."""
    with closing(run.subject.timer()) as timer:
        async with run.subject.connect() as peer:
            run.there = await environment_of(peer, run.subject.name)
        if run.options.warmup:
            run.watch("warm-up", run.options.warmup, None)
            await connects(run, timer, Recording(), seconds=run.options.warmup, count=None)
        measured = run.calls(Plan(name="connect"))
        for _ in range(run.options.rounds):
            recording = Recording()
            measured.rounds.append(recording)
            run.watch("connect", run.options.seconds, recording)
            began = process_time()
            try:
                await connects(run, timer, recording, seconds=run.options.seconds, count=run.options.count)
            finally:
                measured.cost.here = (measured.cost.here or 0.0) + process_time() - began


WORKLOADS: dict[str, Callable[[Run], Awaitable[None]]] = {
    "latency": latency,
    "throughput": throughput,
    "stream": stream,
    "mixed": mixed,
    "connect": connect,
}


async def each_round(run: Run, measure: Step) -> None:
    """Measure each round on a new connection.

    Raises:
        MethodNotFound: the peer has no service ``bench``.
        VirtagentError: what ended the run.
    """
    with closing(run.subject.timer()) as timer:
        for _ in range(run.options.rounds):
            async with run.subject.connect() as peer:
                if run.there is None:
                    run.there = await environment_of(peer, run.subject.name)
                async with first_failure(), asyncio.TaskGroup() as group:
                    watcher = group.create_task(until_lost(peer))
                    await measure(peer, timer)
                    watcher.cancel()


async def until_lost(peer: Peer) -> None:
    """Wait until the session is over: calls would wait for the next one, and that would be no latency.

    A guest that is silent, as one that is paused, has a session still.

    Raises:
        SessionLost: when it is.
    """
    async for state in peer.states():
        if state not in (PeerState.UP, PeerState.SILENT):
            raise SessionLost(peer.detail)


def plan_of(run: Run, peer: Peer, name: str) -> Plan:
    """The load that the options ask for: an open loop with a rate, else a closed one."""
    options, wanted = run.options, run.options.in_flight[0]
    if options.rate is None:
        return Plan(name=name, size=options.size, in_flight=wanted)
    width = min(wanted, most_calls(peer))
    return Plan(name=name, size=options.size, in_flight=width, rate=options.rate, arrivals=options.arrivals)


async def measure_calls(run: Run, peer: Peer, timer: Timer, plans: Sequence[Plan], *, charge: bool = True) -> None:
    """Warm up and measure these loads, one after the other.

    Raises:
        UsageError: more calls at a time than the peer serves.
    """
    if max(plan.in_flight for plan in plans) > most_calls(peer):
        raise UsageError(
            f"{run.subject.name} serves {most_calls(peer)} calls at a time; ask for no more --in-flight than that"
        )
    for plan in plans:
        if run.options.warmup:
            run.watch("warm-up", run.options.warmup, None)
            await apply(run, peer, timer, plan, Recording(), seconds=run.options.warmup, count=None)
        measured: Measured = run.calls(plan)
        recording = Recording()
        measured.rounds.append(recording)
        run.watch(plan.name, run.options.seconds, recording)
        async with run.charged(peer, measured.cost) if charge else nullcontext():
            await apply(run, peer, timer, plan, recording, seconds=run.options.seconds, count=run.options.count)


async def apply(
    run: Run,
    peer: Peer,
    timer: Timer,
    plan: Plan,
    recording: Recording,
    *,
    seconds: float | None,
    count: int | None,
) -> None:
    """Put the load on the peer."""
    call = echo(peer, plan.size)
    if plan.rate is None:
        await closed_loop(call, timer, recording, in_flight=plan.in_flight, seconds=seconds, count=count)
        return
    length = min(each for each in (seconds, None if count is None else count / plan.rate) if each is not None)
    begin = timer.now()
    end = begin + round(length * SECOND)
    schedule = arrivals(run.options.arrivals, plan.rate, begin, end)
    await open_loop(call, schedule, timer, recording, end=end, most_in_flight=plan.in_flight)


def for_seconds(timer: Timer, seconds: float | None) -> Callable[[], bool]:
    """Whether so many seconds have not passed yet; without a number, for ever."""
    if seconds is None:
        return lambda: True
    end = timer.now() + round(seconds * SECOND)
    return lambda: timer.now() < end


async def move(
    run: Run,
    peer: Peer,
    timer: Timer,
    direction: Direction,
    recording: StreamRecording,
    running: Callable[[], bool],
) -> None:
    """Stream in one direction."""
    chunk = run.options.chunk or largest_frame(peer)
    await MOVES[direction](peer, recording, timer, running=running, chunk=chunk, total=run.options.count)


async def connects(run: Run, timer: Timer, recording: Recording, *, seconds: float | None, count: int | None) -> None:
    """Connect again and again; an answer's stamps are when the connection was up."""
    recording.begin = recording.last = timer.now()
    running = for_seconds(timer, seconds)
    while running() and (count is None or recording.made < count):
        recording.made += 1
        sent = timer.now()
        async with run.subject.connect() as peer:
            opened = timer.now()
            await usage_of(peer)
            answered = recording.last = timer.now()
        recording.samples.add(sent, sent, (opened, opened, opened), answered)
    recording.end = timer.now()
