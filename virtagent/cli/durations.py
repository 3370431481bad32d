"""Durations and moments as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from virtagent.errors import UsageError

__all__ = ["parse_moment", "seconds"]

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|min|ms|m|s)?")
_UNITS = {"d": 86400.0, "h": 3600.0, "min": 60.0, "m": 60.0, "s": 1.0, "ms": 0.001}
LONGEST = 3660 * 86400.0


def seconds(text: str) -> float:
    """A duration: ``90``, ``1.5s``, ``10m``, ``1h30m``, ``2d``.

    Raises:
        UsageError: it is none.
    """
    rest, total = text.strip().lower(), 0.0
    while match := _PART.match(rest):
        if match[2] is None and (rest != match[0] or total):
            break
        total += float(match[1]) * _UNITS[match[2] or "s"]
        rest = rest[match.end() :].lstrip()
        if not rest:
            if total > LONGEST:
                break
            return total
    raise UsageError(f"{text!r} is no duration; write seconds, or such as 90s, 10m, 1h30m, 2d")


def parse_moment(text: str, *, now: datetime | None = None) -> datetime:
    """A moment: ``2026-01-31 12:00``, in this machine's time zone unless it says another; ``12:00``; ``today``;
    ``yesterday``; or how long ago: ``10m``, ``2h ago``.

    Raises:
        UsageError: it is none.
    """
    now = datetime.now(UTC).astimezone() if now is None else now
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    word = text.strip().lower()
    days = {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}
    if word in days:
        return days[word]
    for whole in (text.strip(), f"{midnight:%Y-%m-%d} {text.strip()}"):
        try:
            found = datetime.fromisoformat(whole)
        except ValueError:
            continue
        return found if found.tzinfo is not None else found.replace(tzinfo=now.tzinfo)
    try:
        return now - timedelta(seconds=seconds(word.removesuffix("ago").removeprefix("-")))
    except UsageError:
        raise UsageError(
            f"{text!r} is no moment; write '2026-01-31 12:00', '12:00', today, yesterday, or how long ago, such as 10m"
        ) from None
