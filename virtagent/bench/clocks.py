"""What time it is at the other end, so that a round trip can be split into its two ways.

Each call gives four moments, as in NTP (RFC 5905, section 8): sent and answered here, received and finished there. If
both ways took equally long, the other clock would be ahead by ((received - sent) + (finished - answered)) / 2; that
error is at most half of the time on the way, so the calls that were fastest tell best. Clocks drift apart (tens of
microseconds a second), hence a line through the fastest call of each part of the run. On one machine both ends read
the same clock, and nothing has to be estimated.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np

from virtagent.bench.samples import Column, Samples

__all__ = ["ClockEstimate", "estimate_clock"]

PARTS = 32
"""Parts of a run that each give one point of the line."""

FEWEST_IN_A_PART = 20

FAST = 1.5
"""How much slower than the fastest call a point of the line may be: under load, waiting makes both ways unequal."""

SHORTEST_FOR_DRIFT = 2e9
"""Nanoseconds of a run below which a drift cannot be told from noise."""


class ClockEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """The callee's monotonic clock beside ours.

    Attributes:
        method: "same clock": both ends run on one kernel; "round trips": estimated from the fastest calls, assuming
            that those took equally long in both directions.
        offset: nanoseconds by which it is ahead at ``at``.
        drift: nanoseconds a second by which it gets further ahead.
        at: a moment of our clock, in nanoseconds.
        error: nanoseconds; half of the fastest round trip's time on the way bounds the offset's error.
    """

    method: str
    offset: float
    drift: float
    at: int
    error: float

    def ours(self, theirs: Column, near: Column) -> Column:
        """Moments of the callee's clock on ours.

        Args:
            near: about the same moments on our clock, for the drift.
        """
        ahead = self.offset + self.drift * (near - self.at) / 1e9
        out: Column = theirs - np.rint(ahead).astype(np.int64)
        return out


def estimate_clock(recorded: Sequence[Samples], *, same_machine: bool) -> ClockEstimate | None:
    """The other clock, as the calls of one connection tell; None if there was no call.

    Args:
        recorded: under whichever loads, in the order in which they were put on.
        same_machine: both ends said that they run on one boot of one kernel. It is believed if the stamps agree.
    """
    if not any(map(len, recorded)):
        return None
    sent, answered, received, finished = (
        np.concatenate([samples.column(name) for samples in recorded])
        for name in ("sent", "answered", "received", "finished")
    )
    away = (answered - sent) - (finished - received)
    ahead = ((received - sent) + (finished - answered)) / 2
    best = int(away.argmin())
    error = max(float(away[best]) / 2, 0.0)
    if same_machine and abs(ahead[best]) <= error:
        return ClockEstimate(method="same clock", offset=0.0, drift=0.0, at=int(sent[best]), error=0.0)
    points = [point for point in fastest_of_each_part(away) if away[point] <= FAST * away[best]]
    at = int(sent[best])
    drift = slope(sent[points], ahead[points]) if sent[-1] - sent[0] >= SHORTEST_FOR_DRIFT else 0.0
    offset = float(ahead[best])
    return ClockEstimate(method="round trips", offset=offset, drift=drift, at=at, error=error)


def fastest_of_each_part(away: Column) -> list[int]:
    """The indices of the fastest calls, one in each part of the run."""
    parts = max(1, min(PARTS, len(away) // FEWEST_IN_A_PART))
    borders = np.linspace(0, len(away), parts + 1).astype(int)
    return [int(begin + away[begin:end].argmin()) for begin, end in pairwise(borders)]


def slope(moments: Column, ahead: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """Nanoseconds a second; the median slope of all pairs (Theil and Sen), which single late points do not move."""
    first, second = np.triu_indices(len(moments), 1)
    seconds = (moments[second] - moments[first]) / 1e9
    usable = seconds > 0
    if not usable.any():
        return 0.0
    return float(np.median((ahead[second] - ahead[first])[usable] / seconds[usable]))
