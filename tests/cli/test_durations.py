"""Durations, moments and sizes as people write and read them."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.cli.durations import parse_moment, seconds
from virtagent.cli.sizes import human_size
from virtagent.errors import UsageError

NOW = datetime(2026, 3, 4, 15, 30, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("10s", 10.0),
        ("10m", 600.0),
        ("10min", 600.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("2d", 172800.0),
        ("250ms", 0.25),
        (" 5S ", 5.0),
    ],
)
def test_a_duration_is_understood(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "-5", "5x", "1h30", "10 20", "99999d", "1e9", "."])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no duration"):
        seconds(text)


@given(st.text(alphabet="0123456789.dhmsin ", max_size=20))
def test_any_text_is_a_duration_or_a_mistake(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert seconds(text) >= 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31 12:00", datetime(2026, 1, 31, 12, tzinfo=NOW.tzinfo)),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=NOW.tzinfo)),
        ("12:00", datetime(2026, 3, 4, 12, tzinfo=NOW.tzinfo)),
        ("now", NOW),
        ("today", datetime(2026, 3, 4, tzinfo=NOW.tzinfo)),
        ("Yesterday", datetime(2026, 3, 3, tzinfo=NOW.tzinfo)),
        ("10m", NOW - timedelta(minutes=10)),
        ("2h ago", NOW - timedelta(hours=2)),
        ("-1h", NOW - timedelta(hours=1)),
    ],
)
def test_a_moment_is_understood(text: str, expected: datetime) -> None:
    found = parse_moment(text, now=NOW)
    assert found == expected
    assert found.tzinfo is not None


@pytest.mark.parametrize("text", ["", "then", "2026-13-01", "25:00"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no moment"):
        parse_moment(text, now=NOW)


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, ""), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (200 * 2**20, "200 MiB"), (2**80, "1048576 EiB")],
)
def test_a_size_is_short(count: int | None, text: str) -> None:
    assert human_size(count) == text
