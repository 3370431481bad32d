"""Workloads against a listener in this process, over a real socket."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import virtagent
from virtagent.bench.run import Options, Run
from virtagent.bench.subject import Subject, echo
from virtagent.bench.summary import call_phases, connect_phases
from virtagent.bench.workloads import WORKLOADS
from virtagent.errors import (
    ChannelUnavailable,
    InternalError,
    MethodNotFound,
    NobodyAnswers,
    ResourceExhausted,
    SessionLost,
    UsageError,
)
from virtagent.guest.bench import BenchService
from virtagent.peer.options import PeerOptions
from virtagent.protocol.limits import Limits
from virtagent.service.service import Service

REAL_TIME = True
LIMIT = 30.0


@pytest.fixture
def url() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="va-") as directory:
        yield f"unix:{directory}/s"


@asynccontextmanager
async def served(url: str, *services: Service, limits: Limits | None = None) -> AsyncIterator[Any]:
    async with (
        asyncio.timeout(LIMIT),
        virtagent.listen(url, services=services or [BenchService()], options=PeerOptions(limits=limits)) as listening,
    ):
        yield listening


def run_of(url: str, workload: str, **told: Any) -> Run:
    split = connect_phases if workload == "connect" else call_phases
    options = Options(**{"seconds": None, "warmup": 0.0, **told})
    return Run(Subject(url=url, name="web1", timeout=5.0, deadline=10.0), workload, options, split=split)


async def test_a_closed_loop_measures_latency_with_its_phases_and_costs(url: str) -> None:
    run = run_of(url, "latency", count=300)
    async with served(url):
        await WORKLOADS["latency"](run)
    result = run.result()
    (series,) = result.calls
    assert (series.count, series.loop, series.in_flight, series.errors) == (300, "closed", 1, {})
    assert series.latency is not None
    parts = ("queue", "wire_out", "callee_queue", "handler", "wire_back")
    assert sum(series.phases[name].mean for name in parts) == pytest.approx(series.latency.mean)
    assert series.clock is not None
    assert series.clock.method == "same clock"  # this very process
    assert series.cpu_here
    assert series.cpu_there
    assert series.rss_there
    assert result.there["boot_id"] == result.here["boot_id"]
    assert result.options["count"] == 300


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
async def test_an_open_loop_makes_the_calls_of_its_schedule(url: str, arrivals: str) -> None:
    run = run_of(url, "latency", rate=400.0, arrivals=arrivals, seconds=0.25, in_flight=(100_000,), warmup=0.02)
    async with served(url):
        await WORKLOADS["latency"](run)
    (series,) = run.result().calls
    assert (series.loop, series.rate, series.arrivals) == ("open", 400.0, arrivals)
    assert series.in_flight == Limits().calls  # as many as the peer serves at a time
    assert 50 < series.count <= 160
    if arrivals == "constant":
        assert series.count == 100


async def test_a_count_bounds_an_open_loop_too(url: str) -> None:
    run = run_of(url, "latency", rate=1000.0, count=50)
    async with served(url):
        await WORKLOADS["latency"](run)
    assert run.result().calls[0].count == 50


async def test_rounds_are_measured_on_connections_of_their_own(url: str) -> None:
    run = run_of(url, "latency", count=40, rounds=3)
    seen: set[Any] = set()
    async with served(url) as listening:
        listening._on_peer = seen.add
        await WORKLOADS["latency"](run)
    assert len(seen) == 3
    (series,) = run.result().calls
    assert series.count == 120
    assert {block.round for block in series.blocks} == {0, 1, 2}


async def test_throughput_has_a_series_for_each_width(url: str) -> None:
    run = run_of(url, "throughput", count=200, in_flight=(1, 16), size=1000)
    async with served(url):
        await WORKLOADS["throughput"](run)
    assert [(each.name, each.in_flight, each.count, each.size) for each in run.result().calls] == [
        ("1 in flight", 1, 200, 1000),
        ("16 in flight", 16, 200, 1000),
    ]


async def test_streams_are_measured_in_both_directions(url: str) -> None:
    run = run_of(url, "stream", count=3_000_000, chunk=65_536)
    async with served(url):
        await WORKLOADS["stream"](run)
    first, second = run.result().streams
    assert [each.direction for each in (first, second)] == ["from guest", "to guest"]
    assert first.bytes == second.bytes == 3_000_000
    assert first.achieved > 0
    assert second.achieved > 0
    assert first.cpu_here
    assert second.cpu_there


async def test_a_stream_for_some_time_is_ended_by_this_end(url: str) -> None:
    run = run_of(url, "stream", seconds=0.1, warmup=0.02, chunk=4096)
    service = BenchService()
    async with served(url, service):
        await WORKLOADS["stream"](run)
    assert all(each.bytes > 4096 for each in run.result().streams)
    assert service._sinks == 0


async def test_mixed_measures_calls_without_and_with_streams(url: str) -> None:
    run = run_of(url, "mixed", rate=100.0, seconds=0.3, in_flight=(64,))
    async with served(url):
        await WORKLOADS["mixed"](run)
    result = run.result()
    assert [each.name for each in result.calls] == ["idle", "during streams"]
    assert [each.name for each in result.streams] == ["from guest, beside calls", "to guest, beside calls"]
    assert all(each.count == 30 for each in result.calls)
    assert all(each.bytes for each in result.streams)


async def test_connect_measures_from_opening_to_the_first_answer(url: str) -> None:
    run = run_of(url, "connect", count=12)
    async with served(url):
        await WORKLOADS["connect"](run)
    (series,) = run.result().calls
    assert series.count == 12
    assert series.phases.keys() == {"open", "first_answer"}
    assert series.latency is not None
    assert sum(each.mean for each in series.phases.values()) == pytest.approx(series.latency.mean)


class Other(Service, name="other"):
    async def nothing(self) -> None: ...


@pytest.mark.parametrize("workload", WORKLOADS)
async def test_a_peer_without_the_service_is_told_apart_with_what_to_do(url: str, workload: str) -> None:
    run = run_of(url, workload, count=10, seconds=1.0)
    async with served(url, Other()):
        with pytest.raises(MethodNotFound, match=r"web1 has no service 'bench': update its agent, or serve virtagent"):
            await WORKLOADS[workload](run)
    result = run.result("no service")
    assert (result.calls, result.streams, result.there) == ([], [], {})


@pytest.mark.parametrize("workload", WORKLOADS)
async def test_nobody_to_measure_is_an_error_of_the_channel(url: str, workload: str) -> None:
    with pytest.raises(ChannelUnavailable):
        await WORKLOADS[workload](run_of(url, workload, count=1))


async def test_an_open_channel_without_a_peer_is_told_in_time(url: str) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(mute, url.removeprefix("unix:"))
    run = run_of(url, "latency", count=1)
    run.subject = Subject(url=url, name="web1", timeout=0.2)
    async with server:
        with pytest.raises(NobodyAnswers):
            await WORKLOADS["latency"](run)


@pytest.mark.parametrize(
    ("workload", "told"), [("latency", {}), ("latency", {"rate": 50.0}), ("stream", {}), ("mixed", {"rate": 50.0})]
)
async def test_a_peer_that_goes_ends_the_run_and_what_was_measured_remains(
    url: str, workload: str, told: dict[str, Any]
) -> None:
    run = run_of(url, workload, seconds=20.0, **told)
    async with served(url) as listening:
        task = asyncio.ensure_future(WORKLOADS[workload](run))
        while not any(len(each.samples) > 3 for found in run._calls.values() for each in found.rounds) and not any(
            each.bytes for found in run._streams.values() for each in found.rounds
        ):
            await asyncio.sleep(0.01)
        for peer in listening.peers:
            peer.channel.abort()
        with pytest.raises((SessionLost, virtagent.StreamReset)):
            await task
    result = run.result("lost")
    assert result.interrupted == "lost"
    assert any(each.count for each in result.calls) or any(each.bytes for each in result.streams)
    assert all(each.sustained and each.cpu_there is None for each in result.calls)


async def test_a_run_that_is_cancelled_keeps_what_it_has(url: str) -> None:
    run = run_of(url, "latency", seconds=20.0)
    async with served(url):
        task = asyncio.ensure_future(WORKLOADS["latency"](run))
        while not any(len(each.samples) > 3 for found in run._calls.values() for each in found.rounds):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert run.result("Ctrl-C").calls[0].count > 3


async def test_more_calls_at_a_time_than_the_peer_serves_are_refused_before_anything_is_measured(url: str) -> None:
    run = run_of(url, "throughput", count=10, in_flight=(1, 9))
    async with served(url, limits=Limits(calls=8)):
        with pytest.raises(UsageError, match="web1 serves 8 calls at a time; ask for no more --in-flight"):
            await WORKLOADS["throughput"](run)
    assert run.result().calls == []


async def test_a_payload_that_the_channel_does_not_take_is_refused(url: str) -> None:
    run = run_of(url, "latency", count=10, size=1 << 20)
    async with served(url, limits=Limits(message=1 << 16)):
        with pytest.raises((UsageError, ResourceExhausted)):
            await WORKLOADS["latency"](run)


async def test_each_stretch_is_announced_to_who_watches(url: str) -> None:
    told: list[tuple[str, float | None]] = []
    run = run_of(url, "latency", count=5, warmup=0.01)
    run.watch = lambda name, seconds, recording: told.append((name, seconds))
    async with served(url):
        await WORKLOADS["latency"](run)
    assert told == [("warm-up", 0.01), ("latency", None)]


class Answering:
    """A peer that answers everything with the same."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def call(self, method: str, /, *args: Any, **params: Any) -> Any:
        return self.answer


GOOD = {"data": b"ab", "received": 1, "started": 2, "finished": 3}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        7,
        "text",
        {},
        {**GOOD, "data": b"abc"},
        {**GOOD, "data": 5},
        {**GOOD, "received": "1"},
        {**GOOD, "received": -1},
        {**GOOD, "started": 2.0},
        {**GOOD, "finished": True},
        {**GOOD, "received": 3, "started": 2},
        {**GOOD, "finished": 1 << 63},
        {key: value for key, value in GOOD.items() if key != "finished"},
    ],
)
async def test_an_answer_that_is_no_echo_is_an_error_of_the_peer(answer: Any) -> None:
    with pytest.raises(InternalError, match="no echo with time stamps"):
        await echo(Answering(answer), 2)()  # type: ignore[arg-type]


async def test_an_echo_gives_its_stamps() -> None:
    assert await echo(Answering(GOOD), 2)() == (1, 2, 3)  # type: ignore[arg-type]


async def test_calls_that_all_fail_are_counted_with_the_first_message(url: str) -> None:
    class Broken(BenchService):
        async def echo(self, data: bytes = b"") -> Any:
            raise virtagent.Unavailable("out of order")

    run = run_of(url, "latency", count=5)
    async with served(url, Broken()):
        await WORKLOADS["latency"](run)
    (series,) = run.result().calls
    assert (series.count, series.errors, series.latency) == (0, {"Unavailable": 5}, None)
    assert run.first_error == "out of order"


async def test_a_peer_that_leaves_its_environment_out_is_measured_all_the_same(url: str, tmp_path: Path) -> None:
    class Terse(BenchService):
        async def environment(self) -> Any:
            return {"kernel": "?", "machine": "?", "python": "?", "date": (await BenchService().environment()).date}

    run = run_of(url, "latency", count=50)
    async with served(url, Terse()):
        await WORKLOADS["latency"](run)
    (series,) = run.result().calls
    assert series.clock is not None
    assert series.clock.method == "round trips"  # nothing says that it is this machine
