"""The counters of disks."""

from __future__ import annotations

import os

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.guest.diskstats import SECTOR, DiskCounters, parse_diskstats, read_diskstats

LINE = (
    " 254 0 vda 577179 44850 25861818 532332 131432 441705 55082528 268287 3 "
    "71628 835441 299563 140 45839544 34059 6692 761"
)


def test_each_counter_has_its_name() -> None:
    assert parse_diskstats(LINE) == [
        DiskCounters(
            major=254, minor=0, name="vda",
            reads=577179, reads_merged=44850, read_sectors=25861818, read_ms=532332,
            writes=131432, writes_merged=441705, written_sectors=55082528, write_ms=268287,
            in_flight=3, busy_ms=71628, weighted_ms=835441,
            discards=299563, discards_merged=140, discarded_sectors=45839544, discard_ms=34059,
            flushes=6692, flush_ms=761,
        )
    ]  # fmt: skip


@pytest.mark.parametrize(("words", "discards", "flushes"), [(14, None, None), (18, 299563, None), (20, 299563, 6692)])
def test_older_kernels_tell_less(words: int, discards: int | None, flushes: int | None) -> None:
    (told,) = parse_diskstats(" ".join(LINE.split()[:words]))
    assert (told.busy_ms, told.discards, told.flushes) == (71628, discards, flushes)


def test_a_newer_kernel_may_tell_more() -> None:
    assert parse_diskstats(LINE + " 7 8 9") == parse_diskstats(LINE)


@given(st.text(max_size=400))
def test_any_text_is_some_counters(text: str) -> None:
    assert isinstance(parse_diskstats(text), list)


@given(st.lists(st.integers(0, 2**64), min_size=11, max_size=17))
def test_counters_are_read_as_they_were_written(numbers: list[int]) -> None:
    (told,) = parse_diskstats(f"   8  1 sda1 {' '.join(map(str, numbers))}\n")
    assert list(told[3:])[: len(numbers)] == numbers


@pytest.mark.skipif(not os.path.exists("/proc/diskstats"), reason="needs /proc/diskstats")
def test_this_machines_counters_are_those_that_psutil_reads() -> None:
    before = psutil.disk_io_counters(perdisk=True)
    told = {each.name: each for each in read_diskstats()}
    after = psutil.disk_io_counters(perdisk=True)
    assert set(before) <= set(told)
    for name, counters in before.items():
        assert counters.read_bytes <= told[name].read_sectors * SECTOR <= after[name].read_bytes
        assert counters.write_count <= told[name].writes <= after[name].write_count
