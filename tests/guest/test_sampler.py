"""Samples: what they hold, and what has become of counters."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.api.stats import ALL_GROUPS, Group
from virtagent.guest import sampler as module
from virtagent.guest.cpu_times import CpuTimes
from virtagent.guest.diskstats import DiskCounters
from virtagent.guest.filesystem_use import FilesystemUses
from virtagent.guest.net_dev import InterfaceCounters
from virtagent.guest.sampler import Sampler, rate
from virtagent.guest.schedule import Schedule
from virtagent.testing import FakeClock

FIELDS = {
    "cpu": {"cpu", "cpus"},
    "memory": {"memory"},
    "swap": {"swap"},
    "pressure": {"pressure"},
    "load": {"load"},
    "disks": {"disks"},
    "network": {"network"},
    "filesystems": {"filesystems"},
    "processes": {"processes", "process_count"},
}


@pytest.mark.parametrize("group", ALL_GROUPS)
def test_a_sample_holds_what_was_asked_for_and_nothing_else(group: Group) -> None:
    sample = Sampler(FilesystemUses(), groups=[group]).take()
    held = {name for name in sample.__struct_fields__ if getattr(sample, name) not in (None, {})}
    assert held - {"number", "time", "clock"} <= FIELDS[group]


def test_the_first_sample_has_no_rates_and_the_second_one_has() -> None:
    clock = FakeClock()
    sampler = Sampler(FilesystemUses(), groups=["network", "swap"], clock=clock)
    first = sampler.take()
    assert first.interval is None
    assert all(each.receive_rate is None for each in first.network.values())
    clock.advance(2.0)
    second = sampler.take(7)
    assert (second.number, second.interval) == (7, 2.0)
    assert all(each.receive_rate is not None for each in second.network.values())
    assert second.swap is not None
    assert second.swap.in_rate is not None


def counters(**fields: Any) -> dict[str, DiskCounters]:
    return {"vda": DiskCounters(8, 0, "vda", *([1] * 11))._replace(**fields)}


def test_rates_are_per_second_and_utilization_is_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = [counters(), counters(reads=11, read_sectors=2001, busy_ms=1001)]
    monkeypatch.setattr(module, "read_diskstats", lambda: list(told.pop(0).values()))
    clock = FakeClock()
    sampler = Sampler(FilesystemUses(), groups=["disks"], clock=clock)
    sampler.take()
    clock.advance(2.0)
    disk = sampler.take().disks["vda"]
    assert (disk.read_rate, disk.reads_rate, disk.write_rate, disk.utilization) == (512_000.0, 5.0, 0.0, 50.0)


def test_a_device_that_came_meanwhile_has_no_rate_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, InterfaceCounters]] = [{}, {"eth1": InterfaceCounters(*range(8))}]
    monkeypatch.setattr(module, "read_net_dev", lambda: told.pop(0))
    clock = FakeClock()
    sampler = Sampler(FilesystemUses(), groups=["network"], clock=clock)
    sampler.take()
    clock.advance(1.0)
    assert sampler.take().network["eth1"].receive_rate is None


def test_a_processor_that_came_meanwhile_has_no_percentage_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [{"": CpuTimes(1, 1, 1, 1)}, {"": CpuTimes(2, 1, 1, 1), "1": CpuTimes(1, 1, 1, 1)}]
    monkeypatch.setattr(module, "read_cpu_times", lambda: told.pop(0))
    clock = FakeClock()
    sampler = Sampler(FilesystemUses(), groups=["cpu"], clock=clock)
    sampler.take()
    clock.advance(1.0)
    sample = sampler.take()
    assert sample.cpu is not None
    assert (sample.cpu.percent, sample.cpus["1"].percent) == (100.0, None)


@given(st.integers(0, 2**63), st.integers(0, 2**63), st.floats(0.001, 1e5))
def test_a_counter_that_went_back_has_no_rate(now: int, before: int, seconds: float) -> None:
    found = rate(now, before, seconds)
    assert (found is None) == (now < before)
    assert found is None or found >= 0
    assert rate(None, before, seconds) is None


# -- the schedule ------------------------------------------------------------------------------------------------------


def test_ticks_do_not_drift_however_long_each_sample_takes() -> None:
    now, found = 100.0, []
    schedule = Schedule(0.5, now)
    for _ in range(5):
        number, wait = schedule.next_tick(now)
        now += wait
        found.append((number, now))
        now += 0.3
    assert found == [(0, 100.0), (1, 100.5), (2, 101.0), (3, 101.5), (4, 102.0)]


def test_ticks_that_passed_unused_are_left_out() -> None:
    schedule = Schedule(1.0, 0.0)
    assert schedule.next_tick(0.0) == (0, 0.0)
    assert schedule.next_tick(5.25) == (5, 0.0)
    assert schedule.next_tick(5.5) == (6, 0.5)


@given(st.floats(0.05, 1000), st.lists(st.floats(0, 5000), max_size=40))
def test_each_tick_is_used_once_and_none_before_its_time(interval: float, pauses: list[float]) -> None:
    start = 1000.0
    now, last = start, -1
    schedule = Schedule(interval, start)
    for pause in pauses:
        number, wait = schedule.next_tick(now)
        assert number > last
        assert wait <= interval * (1 + 1e-9)
        now += wait
        assert now >= start + number * interval - 1e-6
        assert now - (start + number * interval) <= interval + 1e-6
        last = number
        now += pause
    assert math.isfinite(now)
