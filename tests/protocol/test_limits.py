"""The table of limits (docs/protocol.md, section L)."""

from __future__ import annotations

import pytest

from virtagent.protocol.limits import SERIAL, SOCKET, VIRTIO, Limits


def test_a_channels_facts_choose_its_limits() -> None:
    """Rule L1."""
    assert Limits.for_channel() is SOCKET
    assert Limits.for_channel(stale=True) is VIRTIO
    assert Limits.for_channel(lossless=False) == SERIAL
    assert Limits.for_channel(stale=True, lossless=False, line_rate=11520).frame == 576


@pytest.mark.parametrize(("rate", "frame"), [(None, 2048), (1, 256), (960, 256), (11520, 576), (10**9, 2048)])
def test_a_serial_frame_is_fifty_milliseconds_long_within_its_bounds(rate: int | None, frame: int) -> None:
    """Rules L1, P7."""
    assert SERIAL.with_line_rate(rate).frame == frame


def test_every_limit_of_a_slower_channel_is_no_larger() -> None:
    """Rule L1."""
    for name in Limits._fields:
        slow, middle, fast = (getattr(limits, name) for limits in (SERIAL, VIRTIO, SOCKET))
        assert 0 < slow <= middle <= fast
