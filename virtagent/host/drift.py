"""How far a guest's clock is from this one's, measured over the channel (as NTP does, RFC 5905 section 8)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

__all__ = ["Drift", "Exchange", "drift_of"]

STEPPED = 5_000_000
"""Nanoseconds by which this machine's own two clocks may differ within one exchange; more: its clock was set."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question for the time and its answer, in nanoseconds.

    Attributes:
        sent, received: this machine's monotonic clock, before and after.
        sent_realtime, received_realtime: its wall clock at the same moments.
        guest: the guest's wall clock at some moment in between.
    """

    sent: int
    sent_realtime: int
    guest: int
    received: int
    received_realtime: int

    @property
    def round_trip(self) -> int:
        """How long it took."""
        return self.received - self.sent


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """How far the guest's wall clock is ahead of this machine's.

    Attributes:
        offset: nanoseconds; negative: the guest's clock is behind.
        uncertainty: nanoseconds by which the true offset differs at most: half of the round trip. It has this size
            if one way took all of the time, and the other none.
        round_trip: of the exchange that was used, the fastest one.
        samples: how many exchanges there were.
    """

    offset: int
    uncertainty: int
    round_trip: int
    samples: int

    @property
    def is_significant(self) -> bool:
        """Whether the clocks really differ: no exchange can tell less than the uncertainty."""
        return abs(self.offset) > self.uncertainty


def drift_of(exchanges: Iterable[Exchange]) -> Drift | None:
    """The drift as the fastest exchange tells it; None if this machine's own clock was set during each of them."""
    seen = list(exchanges)
    steady = [each for each in seen if abs(each.received_realtime - each.sent_realtime - each.round_trip) <= STEPPED]
    if not steady:
        return None
    best = min(steady, key=lambda each: each.round_trip)
    uncertainty = -(-best.round_trip // 2)
    return Drift(
        offset=best.guest - best.sent_realtime - best.round_trip // 2,
        uncertainty=uncertainty,
        round_trip=best.round_trip,
        samples=len(seen),
    )
