"""Long work in threads can be cancelled between its slices, and leaves nothing running or open."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from virtagent.errors import NotFound
from virtagent.guest.slices import SlicedWork, Visits, finish


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


class Work:
    """A generator that tells when it was closed, and where it ran."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.closed = threading.Event()
        self.threads: set[int] = set()
        self._count = count
        self._error = error

    def run(self) -> Generator[int, None, None]:
        try:
            for number in range(self._count):
                self.threads.add(threading.get_ident())
                yield number
            if self._error is not None:
                raise self._error
        finally:
            self.closed.set()


async def test_everything_comes_in_order_from_other_threads(executor: ThreadPoolExecutor) -> None:
    work = Work(2000)
    assert await finish(SlicedWork(work.run(), executor, most=7)) == list(range(2000))
    assert work.closed.is_set()
    assert threading.get_ident() not in work.threads


async def test_an_error_comes_after_all_that_was_given_before(executor: ThreadPoolExecutor) -> None:
    sliced = SlicedWork(Work(3, NotFound("gone")).run(), executor)
    assert [await anext(sliced) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(NotFound):
        await anext(sliced)
    with pytest.raises(StopAsyncIteration):
        await anext(sliced)


async def test_an_error_at_the_begin_is_raised_at_once(executor: ThreadPoolExecutor) -> None:
    with pytest.raises(NotFound):
        SlicedWork(Work(0, NotFound("gone")).run(), executor).begin()
    late = SlicedWork(Work(1, NotFound("gone")).run(), executor)
    late.begin()
    assert await anext(late) == 0


async def test_leaving_early_closes_the_generator(executor: ThreadPoolExecutor) -> None:
    work = Work(1_000_000)
    sliced = SlicedWork(work.run(), executor, most=5)
    assert await anext(sliced) == 0
    await sliced.aclose()
    assert work.closed.is_set()
    with pytest.raises(StopAsyncIteration):
        await anext(sliced)


async def test_dropping_it_closes_the_generator(executor: ThreadPoolExecutor) -> None:
    work = Work(10)
    sliced = SlicedWork(work.run(), executor, most=5)
    await anext(sliced)
    del sliced
    assert work.closed.is_set()


async def test_a_cleanup_waits_for_the_thread_that_is_at_work(executor: ThreadPoolExecutor) -> None:
    visits, go, order = Visits(executor), threading.Event(), []

    def slow() -> None:
        go.wait(20)
        order.append("worked")

    task = asyncio.ensure_future(visits.run(slow))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    closing = asyncio.ensure_future(visits.close(lambda: order.append("cleaned up")))
    await asyncio.sleep(0)
    assert order == []
    go.set()
    await closing
    assert order == ["worked", "cleaned up"]


async def test_a_cleanup_is_done_though_its_wait_is_cancelled(executor: ThreadPoolExecutor) -> None:
    visits, go, done = Visits(executor), threading.Event(), threading.Event()
    visits.begin(go.wait, 20)
    closing = asyncio.ensure_future(visits.close(done.set))
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    go.set()
    assert await asyncio.to_thread(done.wait, 20)
