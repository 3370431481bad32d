"""Virtual time: timers fire in order and at once, real files and threads still work, and a hang is told."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from virtagent.errors import UsageError
from virtagent.testing import FakeClock, NothingWillHappen, VirtualTimeLoop, run_in_virtual_time


def test_a_day_passes_in_no_time_and_timers_fire_in_order() -> None:
    order: list[str] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append(name)

    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(sleeper("day", 86_400), sleeper("month", 30 * 86_400), sleeper("second", 1))
        return loop.time() - began

    real = time.perf_counter()
    assert run_in_virtual_time(scenario()) == pytest.approx(30 * 86_400)
    assert order == ["second", "day", "month"]
    assert time.perf_counter() - real < 5


def test_a_scenario_that_would_hang_is_told() -> None:
    async def scenario() -> None:
        await asyncio.Event().wait()

    with pytest.raises(NothingWillHappen, match="no timer to wait for"):
        run_in_virtual_time(scenario(), patience=0.01)


async def test_files_and_threads_work_while_the_clock_is_held() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        began = loop.time()
        with loop.hold():
            asyncio.get_running_loop().call_later(5, pytest.fail, "time passed")
            await asyncio.to_thread(far.send, b"x")
            assert await loop.sock_recv(near, 1) == b"x"
        assert loop.time() == began
        assert not loop.held


async def test_a_stopped_process_is_imitated_by_advancing() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    fired = loop.create_future()
    loop.call_later(1, lambda: fired.set_result(loop.time()))
    began = loop.time()
    loop.advance(3600)
    assert await fired - began == 3600


def test_a_fake_clock_stands_still_and_never_goes_back() -> None:
    clock = FakeClock(5.0)
    assert clock() == clock.now == 5.0
    assert clock.advance(2) == 7.0
    assert clock.advance_to(6.0) == 7.0
    assert clock.advance_to(9.0) == 9.0
    with pytest.raises(UsageError):
        clock.advance(-1)
