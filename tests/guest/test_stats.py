"""Statistics as a host gets them: real connections, and time that a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import virtagent
from virtagent.api.stats import ALL_GROUPS, NetworkUse, Sample, SamplePatch
from virtagent.errors import InvalidArgument, ResourceExhausted, Unavailable
from virtagent.guest.grants import FULL
from virtagent.guest.merge_patch import merge_patch
from virtagent.guest.resources import Resources
from virtagent.guest.stats import UNDER_WAY, StatsService
from virtagent.host.guest import Guest
from virtagent.host.merge_patch import DEEPEST, MOST, apply_patch
from virtagent.host.stats import reassembled
from virtagent.testing import run_in_virtual_time

LIMIT = 30.0


class Counting:
    """A sampler whose samples have nothing but a number."""

    def __init__(self, taken: list[int], fails: int | None = None) -> None:
        self.taken = taken
        self.fails = fails

    def take(self, number: int = 0) -> Sample:
        if number == self.fails:
            raise FileNotFoundError(2, "No such file or directory", "/proc/stat")
        self.taken.append(number)
        return Sample(number=number, time=datetime(2026, 1, 1, tzinfo=UTC), clock=float(number), process_count=7)


def counting(taken: list[int], resources: Resources | None = None, fails: int | None = None) -> StatsService:
    made: Any = lambda **options: Counting(taken, fails)  # noqa: E731
    return StatsService(resources, make_sampler=made)


@asynccontextmanager
async def served(path: Path, service: StatsService) -> AsyncIterator[Guest]:
    url = f"unix:{path}/guest.sock"
    async with asyncio.timeout(LIMIT), virtagent.listen(url, services=[service]), virtagent.connect(url) as guest:
        yield guest


# -- samples of this machine -------------------------------------------------------------------------------------------


async def test_one_sample_has_everything_and_rates_if_time_is_given_for_them(tmp_path: Path) -> None:
    async with served(tmp_path, StatsService()) as guest:
        sample = await guest.stats.sample(over=0.1, top=3)
    assert sample.cpu is not None
    assert sample.cpu.percent is not None
    assert sample.memory is not None
    assert sample.load is not None
    assert len(sample.processes) == 3
    assert sample.network["lo"].receive_rate is not None
    assert sample.interval is not None
    assert sample.interval >= 0.1


async def test_followed_samples_are_those_of_the_machine_in_both_ways(tmp_path: Path) -> None:
    async with served(tmp_path, StatsService()) as guest:
        for changes_only in (False, True):
            numbers = []
            async for sample in guest.stats.follow(interval=0.05, changes_only=changes_only):
                numbers.append(sample.number)
                assert sample.memory is not None
                assert {"lo"} <= set(sample.network)
                if len(numbers) == 4:
                    break
            assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
    "arguments", [{"interval": 0.01}, {"groups": ["gpu"]}, {"groups": []}, {"top": 0}, {"by": "name"}]
)
async def test_arguments_are_bounded(tmp_path: Path, arguments: dict[str, Any]) -> None:
    async with served(tmp_path, StatsService()) as guest:
        with pytest.raises(InvalidArgument):
            await anext(guest.stats.watch(**arguments))


# -- the schedule of a stream ------------------------------------------------------------------------------------------


def test_samples_come_at_whole_intervals() -> None:
    async def scenario() -> list[float]:
        taken: list[int] = []
        loop = asyncio.get_running_loop()
        begun, times = loop.time(), []
        stream: Any = counting(taken).watch(interval=10.0)
        async for _ in stream:
            times.append(loop.time() - begun)
            await asyncio.sleep(3.0)
            if len(times) == 4:
                break
        await stream.aclose()
        return times

    assert run_in_virtual_time(scenario()) == pytest.approx([0.0, 10.0, 20.0, 30.0])


def test_a_slow_reader_gets_fewer_samples_and_no_old_ones() -> None:
    async def scenario() -> list[int]:
        taken: list[int] = []
        stream: Any = counting(taken).watch(interval=1.0)
        found = []
        async for sample in stream:
            found.append(sample.number)
            await asyncio.sleep(4.5)
            if len(found) == 4:
                break
        await stream.aclose()
        assert taken == found
        return found

    assert run_in_virtual_time(scenario()) == [0, 4, 9, 13]


async def test_with_receipts_no_more_than_two_samples_are_under_way(tmp_path: Path) -> None:
    taken: list[int] = []
    async with served(tmp_path, counting(taken)) as guest:
        stream: Any = guest.stats.watch(interval=0.05, receipts="mine")
        assert (await anext(stream)).number == 0
        second = await anext(stream)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.4)
        assert len(taken) == UNDER_WAY
        guest.stats.took("mine", second.number)
        later = await anext(stream)
        assert later.number > second.number + 1
        guest.stats.took("somebody else's", later.number)
        await stream.aclose()


async def test_a_sample_that_cannot_be_made_ends_the_stream_in_words(tmp_path: Path) -> None:
    async with served(tmp_path, counting([], fails=1)) as guest:
        stream: Any = guest.stats.watch(interval=0.05)
        await anext(stream)
        with pytest.raises(Unavailable, match="/proc/stat"):
            await anext(stream)


async def test_streams_end_when_the_agent_goes(tmp_path: Path) -> None:
    resources = Resources()
    async with served(tmp_path, counting([], resources)) as guest:
        plain: Any = guest.stats.watch(interval=3600.0)
        waiting: Any = guest.stats.watch(interval=0.05, receipts="r")
        changes: Any = guest.stats.changes(interval=3600.0)
        for stream in (plain, waiting, changes):
            await anext(stream)
        await anext(waiting)
        await resources.stop("stop", "the agent was stopped")
        for stream in (plain, waiting, changes):
            with pytest.raises(Unavailable, match="the agent was stopped"):
                await anext(stream)


async def test_watches_are_counted_against_what_the_peer_may_have(tmp_path: Path) -> None:
    service = counting([])
    async with served(tmp_path, service) as guest:
        streams: list[Any] = [guest.stats.watch(interval=3600.0) for _ in range(FULL.watches)]
        for stream in streams:
            await anext(stream)
        with pytest.raises(ResourceExhausted, match="watches"):
            await anext(guest.stats.changes())
        await streams.pop().aclose()
        while True:
            last: Any = guest.stats.changes(interval=3600.0)
            try:
                await anext(last)
            except ResourceExhausted:
                continue
            break
        for stream in [*streams, last]:
            await stream.aclose()


# -- changes only ------------------------------------------------------------------------------------------------------

PLAIN = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.lists(st.integers(), max_size=3),
    lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=3), PLAIN, max_size=5)


@given(st.lists(OBJECTS, max_size=6))
def test_applying_what_changed_gives_the_object_itself(objects: list[dict[str, Any]]) -> None:
    held: dict[str, Any] = {}
    last: dict[str, Any] = {}
    for each in objects:
        held = apply_patch(held, merge_patch(last, each))
        last = each
        assert held == each


@given(OBJECTS)
def test_nothing_changed_is_an_empty_patch(plain: dict[str, Any]) -> None:
    assert merge_patch(plain, plain) == {}


RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396)
def test_patches_are_applied_as_the_rfcs_examples_are(
    target: dict[str, Any], patch: dict[str, Any], result: dict[str, Any]
) -> None:
    before = msgspec.json.encode(target)
    assert apply_patch(target, patch) == result
    assert msgspec.json.encode(target) == before


def test_a_patch_deeper_or_larger_than_any_sample_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(DEEPEST + 1):
        deep = {"a": deep}
    with pytest.raises(ResourceExhausted, match="deep"):
        apply_patch({}, deep)
    with pytest.raises(ResourceExhausted, match="more than"):
        apply_patch({}, {"a": {str(each): each for each in range(MOST)}})


network = st.builds(
    NetworkUse,
    **{name: st.integers(0, 2**63 - 1) for name in NetworkUse.__struct_fields__[:8]},
    receive_rate=st.none() | st.floats(0, 1e9),
)
samples = st.builds(
    Sample,
    number=st.integers(0, 2**63 - 1),
    time=st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    clock=st.floats(0, 1e9),
    interval=st.none() | st.floats(0.05, 10),
    network=st.dictionaries(st.text(max_size=4), network, max_size=3),
    load=st.none() | st.tuples(*[st.floats(0, 100)] * 3),
    process_count=st.none() | st.integers(0, 1000),
)


@given(st.lists(samples, max_size=5))
def test_samples_are_reassembled_as_they_were(wanted: list[Sample]) -> None:
    async def patches() -> AsyncIterator[SamplePatch]:
        last: dict[str, Any] = {}
        for each in wanted:
            plain = msgspec.to_builtins(each, builtin_types=(datetime,))
            packed = msgspec.msgpack.encode(merge_patch(last, plain))
            patch = msgspec.msgpack.decode(packed)
            if "time" in patch:
                patch["time"] = each.time
            yield SamplePatch(patch=patch)
            last = plain

    async def scenario() -> list[Sample]:
        return [each async for each in reassembled(patches())]

    assert asyncio.run(scenario()) == wanted


async def test_an_idle_machine_sends_little(tmp_path: Path) -> None:
    async with served(tmp_path, StatsService()) as guest:
        stream: Any = guest.stats.changes(interval=0.1, groups=["memory", "network", "filesystems"])
        sizes = [len(msgspec.msgpack.encode((await anext(stream)).patch)) for _ in range(3)]
        await stream.aclose()
    assert sizes[2] < sizes[0] / 2
    assert set(ALL_GROUPS) > {"memory", "network", "filesystems"}
