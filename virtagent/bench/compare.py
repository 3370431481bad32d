"""Which differences between two results are real.

Calls that follow each other are alike, so a bootstrap over single calls would take any hiccup for a difference. What is
drawn here, with replacement, are rounds, and stretches of time within each: a two-level (cluster) bootstrap. The
interval of the ratio is widened for the number of metrics that are compared (Bonferroni), so that a run with eight
widths does not fail eight times as often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from virtagent.bench.environment import environment_differences
from virtagent.bench.result import Block, Result
from virtagent.errors import UsageError

__all__ = ["FEWEST_BLOCKS", "Comparison", "Difference", "compare"]

CONFIDENCE = 0.95
"""That all intervals of a comparison hold together."""

DRAWS = 10_000
FEWEST_BLOCKS = 8
"""Blocks on each side below which no interval can be trusted."""

NEGLIGIBLE = 0.001
"""A change that is no difference, however sure it is: nobody notices it, and rounding makes some."""

STRETCH = 4
"""Blocks that are drawn together: neighbours are alike, too (circular block bootstrap)."""

HIGHER_IS_WORSE = {"p50": True, "p99": True, "rate": False}

Verdict = Literal["slower", "faster", "no difference"]
Values: TypeAlias = "list[npt.NDArray[np.float64]]"
"""The values of a metric's blocks, one array for each round."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one series, before and after.

    Attributes:
        stream: whether it is a stream's.
        metric: "p50" and "p99" of the latency in nanoseconds, "rate" in calls or bytes per second.
        old, new: medians over the blocks.
        ratio: new to old; ``low`` and ``high`` bound it.
        verdict: "slower" or "faster" if the whole interval says so, by more than 0.1 %.
        failed: it is slower by more than is allowed, and the whole interval says so.
    """

    series: str
    metric: str
    stream: bool
    old: float
    new: float
    ratio: float
    low: float
    high: float
    verdict: Verdict
    failed: bool


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two results beside each other.

    Attributes:
        differences: of the metrics that both have with enough blocks.
        left_out: what could not be compared, and why.
        environments: fields in which the environments differ ("here.python"): a difference may be theirs.
        fail_above: the slowdown that is allowed, such as 0.05.
    """

    old: str
    new: str
    fail_above: float
    differences: list[Difference]
    left_out: list[str]
    environments: list[str]

    @property
    def failed(self) -> bool:
        """Whether something really got slower by more than is allowed."""
        return any(each.failed for each in self.differences)


def compare(old: Result, new: Result, *, fail_above: float, names: tuple[str, str] = ("old", "new")) -> Comparison:
    """Compare the series of the same names.

    Args:
        fail_above: the slowdown that is allowed: 0.05 is 5 %.
        names: what to call the results.

    Raises:
        UsageError: they have nothing in common that could be compared.
    """
    for result, name in ((old, names[0]), (new, names[1])):
        if not result.sustained:
            raise UsageError(f"{name} did not keep the rate that was asked for: its latencies compare with nothing")
    left_out: list[str] = []
    pairs = []
    before, after = blocks_by_series(old), blocks_by_series(new)
    for series in (each for each in before if each in after):
        if load_of(old, series) != load_of(new, series):
            left_out.append(f"{series}: the loads differ ({load_of(old, series)}; {load_of(new, series)})")
            continue
        for metric in metrics_of(old, series):
            both = values_of(before[series], metric), values_of(after[series], metric)
            fewest = min(sum(map(len, each)) for each in both)
            if fewest >= FEWEST_BLOCKS:
                pairs.append((series, metric, *both))
            elif metric != "p99" or fewest:
                left_out.append(f"{series} {metric}: too few samples; measure for longer")
    if not pairs:
        missing = left_out or [f"{old.workload} and {new.workload} have no series in common"]
        raise UsageError(f"{names[0]} and {names[1]} cannot be compared: {'; '.join(missing)}")
    streams = {each.name for each in new.streams}
    alpha = (1 - CONFIDENCE) / len(pairs)
    return Comparison(
        old=names[0],
        new=names[1],
        fail_above=fail_above,
        differences=[
            difference(*pair, stream=pair[0] in streams, alpha=alpha, fail_above=fail_above) for pair in pairs
        ],
        left_out=left_out,
        environments=[
            f"{end}.{field}"
            for end in ("here", "there")
            for field in environment_differences(getattr(old, end), getattr(new, end))
        ],
    )


def blocks_by_series(result: Result) -> dict[str, list[Block]]:
    """The blocks of each series."""
    return {each.name: each.blocks for each in result.calls} | {each.name: each.blocks for each in result.streams}


def load_of(result: Result, series: str) -> str:
    """The load of a series, in words."""
    for each in result.calls:
        if each.name == series:
            rate = "" if each.rate is None else f" at {each.rate:g}/s, {each.arrivals}"
            return f"{each.size} bytes, {each.in_flight} in flight{rate}"
    return next((f"chunks of {each.chunk} bytes" for each in result.streams if each.name == series), "")


def metrics_of(result: Result, series: str) -> tuple[str, ...]:
    """What tells of a series: the rate only where it was not asked for."""
    for each in result.calls:
        if each.name == series:
            return ("p50", "p99", "rate") if each.loop == "closed" else ("p50", "p99")
    return ("rate",)


def values_of(blocks: Sequence[Block], metric: str) -> Values:
    """The values of a metric by round; blocks that do not have it are left out."""
    rounds: dict[int, list[float]] = {}
    for block in blocks:
        if block.values.get(metric, 0.0) > 0:
            rounds.setdefault(block.round, []).append(block.values[metric])
    return [np.array(values) for values in rounds.values()]


def difference(
    series: str, metric: str, old: Values, new: Values, *, stream: bool, alpha: float, fail_above: float
) -> Difference:
    """The difference in one metric, at a confidence of 1 - ``alpha``."""
    generator = np.random.default_rng(0)  # the same files give the same verdict
    ratios = draws(new, generator) / draws(old, generator)
    low, high = (float(each) for each in np.quantile(ratios, (alpha / 2, 1 - alpha / 2)))
    before, after = float(np.median(np.concatenate(old))), float(np.median(np.concatenate(new)))
    above, below = low > 1 + NEGLIGIBLE, high < 1 - NEGLIGIBLE
    worse, better = (above, below) if HIGHER_IS_WORSE[metric] else (below, above)
    allowed = 1 + fail_above
    return Difference(
        series=series,
        metric=metric,
        stream=stream,
        old=before,
        new=after,
        ratio=after / before,
        low=low,
        high=high,
        verdict="slower" if worse else "faster" if better else "no difference",
        failed=worse and (low > allowed if HIGHER_IS_WORSE[metric] else high < 1 / allowed),
    )


def draws(rounds: Values, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Medians of the blocks in :data:`DRAWS` samples: of rounds with replacement, and of stretches within each."""
    size = len(rounds)
    chosen = generator.integers(0, size, (DRAWS, size))
    drawn = np.full((DRAWS, size, max(map(len, rounds))), np.nan)
    for number, values in enumerate(rounds):
        samples, places = np.nonzero(chosen == number)
        drawn[samples, places, : len(values)] = values[stretches(len(values), len(samples), generator)]
    flat = drawn.reshape(DRAWS, -1)
    median = np.nanmedian if np.isnan(flat).any() else np.median  # several times as fast, and the ordinary case
    out: npt.NDArray[np.float64] = median(flat, axis=1)
    return out


def stretches(blocks: int, samples: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Indices of as many blocks as there are, for each sample; stretches begin anywhere and go round the end."""
    length = STRETCH if blocks >= 3 * STRETCH else 1
    begins = generator.integers(0, blocks, (samples, -(-blocks // length), 1))
    out: npt.NDArray[np.int64] = ((begins + np.arange(length)) % blocks).reshape(samples, -1)[:, :blocks]
    return out
