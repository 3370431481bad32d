"""Numbers as people read them."""

from __future__ import annotations

import pytest

from virtagent.bench.units import bytes_per_second, duration, number, size


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.456, "0.46"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")],
)
def test_three_digits_count(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1500, "1.50 µs"),
        (42_000, "42.0 µs"),
        (2_500_000, "2.50 ms"),
        (3e9, "3.00 s"),
        (-1500, "-1.50 µs"),
    ],
)
def test_times_have_the_unit_that_fits(nanoseconds: float, text: str) -> None:
    assert duration(nanoseconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (64, "64 B"), (65536, "64 KiB"), (1 << 20, "1 MiB"), (25_300_000, "24.1 MiB"), (3 << 30, "3 GiB")],
)
def test_sizes_are_binary(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(("rate", "text"), [(5, "5 B/s"), (11_520, "11.5 kB/s"), (1.44e9, "1,440 MB/s")])
def test_rates_are_decimal_as_links_are(rate: float, text: str) -> None:
    assert bytes_per_second(rate) == text
