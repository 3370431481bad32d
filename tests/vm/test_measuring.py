"""The measurements in a real guest measure what their targets need."""

from __future__ import annotations

from pathlib import Path

from benchmarks.guest.over_virtio import booted, image_of
from benchmarks.rows.target import judge
from benchmarks.rows.targets import GUEST, TARGETS


async def test_a_round_in_a_real_guest_measures_all_that_its_targets_need(wheel: Path) -> None:
    async with booted(image_of(wheel), size=2 << 20) as guest:
        rounds = [await guest.one_round(calls=20) for _ in range(2)]
    for metrics in rounds:
        assert all(value > 0 for value in metrics.values())
    targets = [target for target in TARGETS if target.row == GUEST]
    assert targets
    assert all(judge(target, rounds).status != "not measured" for target in targets)
