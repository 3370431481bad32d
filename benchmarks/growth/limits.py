"""The limits of both ends of a point, raised above what is measured: the defaults (1,024) would refuse the rest."""

from __future__ import annotations

from virtagent.protocol.limits import Limits

__all__ = ["LIMITS"]

MOST = 20_000
"""Open calls and streams, and notifications that wait."""

LIMITS = Limits(calls=MOST, streams=MOST, notifications=MOST)
