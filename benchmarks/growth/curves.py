"""All curves, by name."""

from __future__ import annotations

from benchmarks.growth import calls, guests, payload, services, streams, work
from benchmarks.growth.metric import Curve

__all__ = ["CURVES"]

CURVES: dict[str, Curve] = {
    each.name: each
    for each in (
        payload.CURVE,
        calls.CURVE,
        streams.CURVE,
        guests.CURVE,
        services.CURVE,
        work.COUNTS,
        work.BYTES,
    )
}
