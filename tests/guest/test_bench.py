"""The callee's half of a measurement: honest stamps, and nothing that endangers a guest."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import virtagent
from tests.service.wire import Wire
from virtagent.api.bench import LARGEST_CHUNK, LARGEST_PAYLOAD, MOST_STREAMED, Bench, Echo
from virtagent.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted
from virtagent.guest import bench, cost
from virtagent.guest.bench import MOST_STREAMS, BenchService, Source, drain
from virtagent.service.service import handlers_of
from virtagent.service.stub import stub


@pytest.fixture
def service() -> BenchService:
    return BenchService()


@pytest.fixture
def guest(service: BenchService) -> Bench:
    return stub(Bench, Wire(service))


async def chunks(*given: bytes) -> AsyncIterator[bytes]:
    for each in given:
        yield each


async def test_an_echo_gives_the_payload_back_with_stamps_in_order(guest: Bench) -> None:
    before = time.monotonic_ns()
    answer = await guest.echo(b"abc")
    assert answer.data == b"abc"
    assert before <= answer.received <= answer.started <= answer.finished <= time.monotonic_ns()


async def test_requests_that_are_served_in_one_turn_were_received_together(service: BenchService) -> None:
    first, second = await echo_inline(service), await echo_inline(service)
    assert first.received == first.started == second.received
    assert second.started > second.received
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = await echo_inline(service)
    assert later.received == later.started > second.finished


async def echo_inline(service: BenchService) -> Echo:
    return await service.echo(b"")


async def test_the_echo_is_answered_in_the_read_path(service: BenchService) -> None:
    modes = {each.name: each.mode for each in handlers_of(service)}
    assert modes["bench.echo"] == modes["bench.source"] == modes["bench.usage"] == "inline"
    assert modes["bench.sink"] == "task"


async def test_a_payload_that_is_too_large_is_refused(guest: Bench) -> None:
    with pytest.raises(InvalidArgument, match=r"bench.echo: argument 'data'"):
        await guest.echo(bytes(LARGEST_PAYLOAD + 1))


@pytest.mark.parametrize(
    "arguments", [{"total": 0}, {"total": MOST_STREAMED + 1}, {"chunk": 0}, {"chunk": LARGEST_CHUNK + 1}]
)
async def test_a_source_without_bounds_is_refused(guest: Bench, arguments: dict[str, int]) -> None:
    with pytest.raises(InvalidArgument, match=f"bench.source: argument '{next(iter(arguments))}'"):
        await anext(guest.source(**arguments))


@settings(deadline=None)
@given(total=st.integers(1, 5000), chunk=st.integers(1, 6000))
def test_a_source_gives_exactly_what_was_asked_for(total: int, chunk: int) -> None:
    async def take() -> list[bytes]:
        return [each async for each in Source(total, chunk)]

    taken = asyncio.run(take())
    assert sum(map(len, taken)) == total
    assert all(len(each) == min(chunk, total) for each in taken[:-1])
    assert 0 < len(taken[-1]) <= chunk


async def test_a_sink_tells_what_it_took_and_when(guest: Bench) -> None:
    before = time.monotonic_ns()
    told = await guest.sink(chunks(b"abc", b"de"))
    assert (told.bytes, told.chunks) == (5, 2)
    assert before <= told.first <= told.last <= time.monotonic_ns()
    empty = await guest.sink(chunks())
    assert (empty.bytes, empty.chunks, empty.first, empty.last) == (0, 0, 0, 0)


async def test_a_stream_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "LONGEST_STREAM", -1.0)
    with pytest.raises(DeadlineExceeded, match="measure for less"):
        await anext(Source(10, 1))

    async def for_ever() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    with pytest.raises(DeadlineExceeded, match="measure for less"):
        await BenchService().sink(for_ever())


async def test_a_sink_takes_no_more_than_a_stream_may_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "MOST_STREAMED", 4)
    assert (await drain(chunks(b"ab", b"cd"))).bytes == 4
    with pytest.raises(ResourceExhausted, match="at most 4 bytes"):
        await drain(chunks(b"ab", b"cd", b"e"))


async def test_only_so_many_streams_are_open_at_a_time(service: BenchService) -> None:
    sources: list[Any] = [service.source() for _ in range(MOST_STREAMS)]
    with pytest.raises(ResourceExhausted, match="open already"):
        service.source()
    with pytest.raises(ResourceExhausted, match="open already"):
        await service.sink(chunks(b"x"))
    sources.pop()
    gc.collect()
    assert (await service.sink(chunks(b"x"))).bytes == 1  # what ended makes room, sinks too
    sources.append(service.source())


async def test_usage_grows_with_what_is_done(guest: Bench) -> None:
    before = await guest.usage()
    end = time.process_time() + 0.01
    while time.process_time() < end:
        pass
    after = await guest.usage()
    assert after.cpu >= before.cpu + 0.01
    assert after.clock > before.clock
    assert after.rss is not None
    assert after.rss > 1 << 20


def test_memory_that_cannot_be_told_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cost, "STATM", tmp_path / "missing")
    assert cost.resident_memory() is None
    (tmp_path / "statm").write_text("1\n")
    monkeypatch.setattr(cost, "STATM", tmp_path / "statm")
    assert cost.resident_memory() is None


async def test_the_environment_names_the_loop_that_serves(guest: Bench) -> None:
    found = await guest.environment()
    assert found.loop
    assert found.kernel.startswith("Linux ")


async def test_any_listener_can_be_measured(tmp_path: Path) -> None:
    url = f"unix:{tmp_path}/s"
    async with virtagent.listen(url, services=[BenchService()]), virtagent.connect(url) as peer:
        there = stub(Bench, peer)
        assert (await there.echo(b"x" * 100)).data == b"x" * 100
        assert len(b"".join([each async for each in there.source(total=300_000, chunk=1000)])) == 300_000
        assert (await there.sink(chunks(b"x" * 100_000, b"y"))).bytes == 100_001
        async with aclosing(there.source()) as endless:  # type: ignore[type-var]
            assert await anext(endless)
