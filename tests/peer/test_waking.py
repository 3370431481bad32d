"""Waking a waiting task in the read path."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

from virtagent.peer.waking import wake

LIMIT = 10.0

mark: ContextVar[str] = ContextVar("mark", default="nobody's")


async def from_the_loop(function: Any) -> None:
    """Run something as a callback of the loop, as a read is, where no task runs."""
    done = asyncio.get_running_loop().create_future()

    def callback() -> None:
        assert asyncio.current_task() is None
        function()
        done.set_result(None)

    asyncio.get_running_loop().call_soon(callback)
    async with asyncio.timeout(LIMIT):
        await done


async def test_a_waiting_task_goes_on_at_once_and_in_its_own_context() -> None:
    waiter = asyncio.get_running_loop().create_future()
    seen: list[Any] = []

    async def wait() -> None:
        mark.set("the task's")
        seen.append((await waiter, mark.get()))
        await asyncio.sleep(0)
        seen.append("later")

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)

    def read() -> None:
        wake(waiter, 5)
        assert seen == [(5, "the task's")]
        assert mark.get() == "nobody's"

    await from_the_loop(read)
    await task
    assert seen == [(5, "the task's"), "later"]


async def test_answers_that_came_together_wake_their_tasks_in_order() -> None:
    loop = asyncio.get_running_loop()
    waiters = [loop.create_future() for _ in range(5)]
    seen: list[int] = []

    async def wait(waiter: asyncio.Future[int]) -> None:
        seen.append(await waiter)

    tasks = [asyncio.create_task(wait(waiter)) for waiter in waiters]
    await asyncio.sleep(0)

    def read() -> None:
        for number in (3, 1, 4, 0, 2):
            wake(waiters[number], number)

    await from_the_loop(read)
    await asyncio.gather(*tasks)
    assert seen == [3, 1, 4, 0, 2]


async def test_a_task_that_has_not_begun_to_wait_finds_the_result() -> None:
    waiter = asyncio.get_running_loop().create_future()
    await from_the_loop(lambda: wake(waiter, "early"))
    assert await waiter == "early"


async def test_several_that_wait_are_woken_as_futures_do() -> None:
    waiter = asyncio.get_running_loop().create_future()
    seen: list[Any] = []
    waiter.add_done_callback(lambda each: seen.append(each.result()))
    waiter.add_done_callback(lambda each: seen.append(each.result()))

    def read() -> None:
        wake(waiter, 7)
        assert seen == []

    await from_the_loop(read)
    await asyncio.sleep(0)
    assert seen == [7, 7]


async def test_inside_a_task_the_waiting_one_goes_on_in_the_next_turn() -> None:
    """A transport may deliver inside write(), which a task calls: two tasks cannot run at a time."""
    waiter = asyncio.get_running_loop().create_future()
    seen: list[int] = []

    async def wait() -> None:
        seen.append(await waiter)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    wake(waiter, 9)
    assert seen == []
    async with asyncio.timeout(LIMIT):
        await task
    assert seen == [9]


async def test_what_the_woken_task_raises_stays_its_own() -> None:
    waiter = asyncio.get_running_loop().create_future()

    async def fail() -> None:
        await waiter
        raise RuntimeError("the task's own")

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await from_the_loop(lambda: wake(waiter, None))
    results = await asyncio.gather(task, return_exceptions=True)
    assert [str(each) for each in results] == ["the task's own"]
