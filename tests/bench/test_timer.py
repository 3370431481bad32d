"""Waiting for a moment."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from virtagent.bench.timer import SECOND, LoopTimer, PreciseTimer
from virtagent.testing import run_in_virtual_time


def test_a_loop_timer_waits_by_the_loops_clock() -> None:
    async def scenario() -> int:
        timer = LoopTimer()
        begin = timer.now()
        await timer.sleep_until(begin + 3600 * SECOND)
        await timer.sleep_until(begin)  # long ago
        timer.close()
        return timer.now() - begin

    assert run_in_virtual_time(scenario()) == pytest.approx(3600 * SECOND, abs=1000)


async def test_a_precise_timer_is_never_early_and_can_be_used_again() -> None:
    timer = PreciseTimer()
    try:
        for _ in range(3):
            moment = timer.now() + 300_000
            await timer.sleep_until(moment)
            assert timer.now() >= moment
    finally:
        timer.close()


async def test_a_moment_that_has_passed_lets_others_run() -> None:
    timer = PreciseTimer()
    ran: list[bool] = []
    asyncio.get_running_loop().call_soon(ran.append, True)
    await timer.sleep_until(0)
    timer.close()
    assert ran


async def test_it_reads_the_clock_of_the_stamps() -> None:
    timer = PreciseTimer()
    before = time.monotonic_ns()
    assert before <= timer.now() <= time.monotonic_ns()
    timer.close()


async def test_a_wait_that_was_cancelled_does_not_disturb_the_next_one() -> None:
    timer = PreciseTimer()
    first = asyncio.ensure_future(timer.sleep_until(timer.now() + 3600 * SECOND))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.wait_for(timer.sleep_until(timer.now() + 1_000_000), 30)
    timer.close()


async def test_the_descriptor_is_given_back() -> None:
    before = len(os.listdir("/proc/self/fd"))
    timer = PreciseTimer()
    assert len(os.listdir("/proc/self/fd")) == before + 1
    timer.close()
    timer.close()
    assert len(os.listdir("/proc/self/fd")) == before
