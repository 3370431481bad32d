"""Distributions of times: HdrHistogram (hdrhistogram.org), three significant digits from 1 ns to an hour."""

from __future__ import annotations

import binascii
import zlib

import msgspec
import numpy as np
from hdrh.codec import HdrCookieException, HdrLengthException
from hdrh.histogram import HdrHistogram

from virtagent.bench.samples import Column
from virtagent.errors import UsageError

__all__ = ["PERCENTILES", "Distribution", "buckets", "describe"]

PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99)

DIGITS = 3
LONGEST = 3_600_000_000_000
KEPT_BITS = 13
"""Leading bits that decide a value's bucket at three digits, and one to spare: the rest need not be told apart."""


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """Times in nanoseconds.

    Attributes:
        percentiles: those of :data:`PERCENTILES` that so many values can tell: "99.9" needs 1,000.
        hdr: the whole histogram, in HdrHistogram's own format (V2, compressed, base64), which other tools read, too.
    """

    count: int
    mean: float
    min: int
    max: int
    percentiles: dict[str, int]
    hdr: str


def describe(values: Column) -> Distribution | None:
    """The distribution of times; None of none. What is below 0, as estimated times may be, counts as 0."""
    if not len(values):
        return None
    values = np.clip(values, 0, LONGEST)
    histogram = HdrHistogram(1, LONGEST, DIGITS)
    for value, count in zip(*np.unique(coarse(values), return_counts=True), strict=True):
        histogram.record_value(int(value), int(count))
    told = [each for each in PERCENTILES if len(values) * (100 - each) >= 100 - 1e-9]
    found = histogram.get_percentile_to_value_dict(told)
    return Distribution(
        count=len(values),
        mean=float(values.mean()),
        min=int(values.min()),
        max=int(values.max()),
        percentiles={f"{each:g}": min(int(found[each]), int(values.max())) for each in told},
        hdr=histogram.encode().decode("ascii"),
    )


def coarse(values: Column) -> Column:
    """Values without the bits that decide no bucket."""
    bits = np.frexp(values.astype(np.float64))[1]
    surplus = np.maximum(bits - KEPT_BITS, 0)
    out: Column = (values >> surplus) << surplus
    return out


def buckets(distribution: Distribution) -> tuple[Column, Column]:
    """Values in order, and how many times each was recorded.

    Raises:
        UsageError: the histogram cannot be read.
    """
    try:
        histogram = HdrHistogram.decode(distribution.hdr)
        steps = histogram.get_recorded_iterator()
        found = [(each.value_iterated_to, each.count_added_in_this_iter_step) for each in steps]
    except (TypeError, ValueError, binascii.Error, zlib.error, HdrCookieException, HdrLengthException) as error:
        raise UsageError(f"a histogram cannot be read ({error}); measure again") from None
    return np.array([each[0] for each in found], dtype=np.int64), np.array([each[1] for each in found], dtype=np.int64)
