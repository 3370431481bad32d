"""The options of ``virtagent bench``, and what they may say."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click

from virtagent.cli.arguments import size
from virtagent.errors import UsageError

__all__ = [
    "CHUNK",
    "DIRECTION",
    "DIRECTIONS",
    "FAIL_ABOVE",
    "MOST_IN_FLIGHT",
    "OPEN_LOOP",
    "PAYLOAD",
    "WIDTHS",
    "chunk_size",
    "measured",
    "number",
    "payload_size",
    "width_list",
]

LONGEST = 3600.0
"""Seconds of one measurement."""

MOST_ROUNDS = 100
MOST_IN_FLIGHT = 100_000
WIDTHS = "1,2,4,8,16,32,64,128,256"
DIRECTIONS = {"from": ("from guest",), "to": ("to guest",), "both": ("from guest", "to guest")}

Option = Callable[[Callable[..., Any]], Callable[..., Any]]


class Finite(click.FloatRange):
    """A number within bounds; "nan" is within none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found: float = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is no number", param, ctx)
        return found


def combined(*options: Option) -> Option:
    """Several decorators as one, in the order in which --help shows them."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def measured(
    seconds: float | None, *, count: str = "N", count_help: str = "Calls of each measurement at most."
) -> Option:
    """The options of everything that measures."""
    shown = "none" if seconds is None else f"{seconds:g}"
    return combined(
        click.option(
            "--duration",
            type=Finite(0, LONGEST, min_open=True),
            metavar="SECONDS",
            help=f"Of each measurement. [{shown}, unless --count is given]",
        ),
        click.option("--count", metavar=count, help=count_help),
        click.option(
            "--warmup",
            type=Finite(0, LONGEST),
            default=1.0,
            metavar="SECONDS",
            help="Of the same load before each measurement, not measured. [1]",
        ),
        click.option(
            "--rounds",
            type=click.IntRange(1, MOST_ROUNDS),
            default=1,
            metavar="N",
            help="Measure all N times, each on a new connection; 5 make comparisons trustworthy. [1]",
        ),
        click.option(
            "--loop",
            type=click.Choice(["auto", "asyncio", "uvloop"]),
            default="auto",
            help="This end's event loop. [auto: uvloop if installed]",
        ),
        click.option("--save", metavar="FILE", help="Write the result as JSON."),
        click.option("--plot", metavar="FILE", multiple=True, help="Write a page (.html) or a picture (.png, .svg)."),
        click.option("--with", "beside", metavar="FILE", multiple=True, help="Plot an earlier result beside this one."),
        click.option("--compare", metavar="FILE", help="Tell which differences from an earlier result are real."),
        FAIL_ABOVE,
    )


FAIL_ABOVE = click.option(
    "--fail-above",
    type=Finite(0, 1000),
    default=5.0,
    metavar="PERCENT",
    help="A comparison fails (exit code 8) if something really got slower by more than this. [5]",
)

PAYLOAD = click.option(
    "--size", "payload", default="64", metavar="BYTES", help="Of the echo's payload, such as 64K. [64]"
)

OPEN_LOOP = combined(
    click.option(
        "--rate",
        type=Finite(0, 1e6, min_open=True),
        metavar="N",
        help="Calls per second, made by the clock whatever the answers do (open loop).",
    ),
    click.option(
        "--arrivals",
        type=click.Choice(["constant", "poisson"]),
        default="constant",
        help="With --rate: evenly spaced, or at random as from many clients. [constant]",
    ),
)

CHUNK = click.option(
    "--chunk",
    metavar="BYTES",
    help="Of each piece that is streamed. [what fits a frame of the channel: 256K on a socket]",
)

DIRECTION = click.option(
    "--direction",
    type=click.Choice(list(DIRECTIONS)),
    default="both",
    help="From the guest, to the guest, or both. [both]",
)


def number(text: str) -> int:
    """A count of calls or bytes.

    Raises:
        UsageError: it is none, or 0.
    """
    value = size(text)
    if not value:
        raise UsageError("--count 0 measures nothing; give a number from 1")
    return value


def bounded(option: str, text: str, low: int, high: int) -> int:
    """A size within bounds.

    Raises:
        UsageError: it is none, or beyond them.
    """
    value = size(text)
    if not low <= value <= high:
        raise UsageError(f"{option} {text}: give from {low} to {high} bytes")
    return value


def width_list(text: str) -> tuple[int, ...]:
    """Numbers of calls in flight.

    Raises:
        UsageError: something else.
    """
    words = text.split(",")
    if not all(word.strip().isdigit() and 0 < int(word) <= MOST_IN_FLIGHT for word in words):
        raise UsageError(f"--in-flight {text}: give numbers from 1 to {MOST_IN_FLIGHT}, such as 1,8,64")
    return tuple(dict.fromkeys(int(word) for word in words))


def payload_size(text: str) -> int:
    """The size of an echo.

    Raises:
        UsageError: larger than the service echoes.
    """
    from virtagent.api.bench import LARGEST_PAYLOAD  # noqa: PLC0415 - --help needs none of it

    return bounded("--size", text, 0, LARGEST_PAYLOAD)


def chunk_size(text: str | None) -> int | None:
    """The size of a piece of a stream.

    Raises:
        UsageError: larger than the service makes.
    """
    from virtagent.api.bench import LARGEST_CHUNK  # noqa: PLC0415

    return None if text is None else bounded("--chunk", text, 1, LARGEST_CHUNK)
