"""``virtagent stats``."""

from __future__ import annotations

import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from virtagent.api.stats import ALL_GROUPS, SHORTEST_INTERVAL
from virtagent.cli.main import shared_options
from virtagent.cli.output import Output, say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings, find_target
from virtagent.cli.text import to_json
from virtagent.errors import UsageError

if TYPE_CHECKING:
    from virtagent.api.stats import Sample
    from virtagent.host.guest import Guest

__all__ = ["changes_only", "command"]

RECORDED = ["cpu", "memory", "swap", "pressure", "disks", "network"]
"""What a plot shows."""

FEWEST = 3
"""Samples of which a plot is made."""


def parse_groups(text: str | None) -> list[Any] | None:
    """The groups that are wanted.

    Raises:
        UsageError: there is no such group.
    """
    if text is None:
        return None
    words = [each.strip() for each in text.split(",")]
    unknown = next((each for each in words if each not in ALL_GROUPS), None)
    if unknown is not None:
        raise UsageError(f"there is no group {unknown!r}; they are {', '.join(ALL_GROUPS)}")
    return list(dict.fromkeys(words))


def changes_only(settings: Settings, said: bool | None) -> bool:
    """Whether the guest shall send only what has changed: as was said, or if the channel is a serial line."""
    if said is not None:
        return said
    url = find_target(settings).url
    return url.startswith("serial:") or "chardev=serial" in url


@click.command(
    short_help="Show processors, memory, disks, network and processes.",
    epilog="""\b
Examples:
  virtagent --to web1 stats
  virtagent --to web1 stats -f --interval 0.5
  virtagent --to web1 stats -f --json --groups cpu,memory | jq .cpu.percent
  virtagent --to web1 stats --plot day.svg --for 600 --interval 5""",
)
@click.option("-f", "--follow", is_flag=True, help="Go on: a line for each sample.")
@click.option(
    "-i",
    "--interval",
    type=click.FloatRange(SHORTEST_INTERVAL, 86400),
    default=1.0,
    metavar="SECONDS",
    help="Over which rates are measured, and between samples. [1]",
)
@click.option("--groups", metavar="GROUP,...", help=f"Only these: {', '.join(ALL_GROUPS)}.")
@click.option("--top", type=click.IntRange(1, 1000), default=10, metavar="N", help="How many processes. [10]")
@click.option("--by", type=click.Choice(["cpu", "memory"]), default="cpu", help="Which processes. [cpu]")
@click.option("--plot", metavar="FILE", help="Record, and make a picture of it: .html, .png or .svg.")
@click.option(
    "--for", "duration", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="How long. [a plot: 60]"
)
@click.option("--changes-only/--whole", "changes", default=None, help="Send only what changed. [on a serial line: yes]")
@shared_options
def command(
    settings: Settings,
    follow: bool,
    interval: float,
    groups: str | None,
    top: int,
    by: Any,
    plot: str | None,
    duration: float | None,
    changes: bool | None,
) -> int:
    """Show what the guest's processors, memory, disks, network and processes do."""
    wanted = parse_groups(groups)
    if plot is not None:
        return record(settings, plot, interval=interval, duration=duration or 60.0, changes=changes)

    async def once(guest: Guest) -> None:
        from virtagent.cli.stats_text import show_sample  # noqa: PLC0415 - not for --json

        sample = await guest.stats.sample(groups=wanted, over=min(interval, 60.0), top=top, by=by)
        if settings.json:
            say(to_json(sample))
        else:
            show_sample(sample)

    async def on_and_on(guest: Guest) -> None:
        from virtagent.cli.stats_text import followed_line  # noqa: PLC0415 - not for --json

        output = Output()
        if not settings.json:
            await output.line(followed_line(None))
        samples = guest.stats.follow(
            interval=interval, groups=wanted, top=top, by=by, changes_only=changes_only(settings, changes)
        )
        first: Sample | None = None
        async with aclosing(samples) as stream:  # type: ignore[type-var]
            async for sample in stream:
                first = first or sample
                if settings.json:
                    await output.line(to_json(sample))
                elif sample.interval is not None:
                    await output.line(followed_line(sample))
                if duration is not None and sample.clock - first.clock >= duration:
                    break

    return with_guest(settings, on_and_on if follow or duration is not None else once)


def record(settings: Settings, path: str, *, interval: float, duration: float, changes: bool | None) -> int:
    """Record samples, and plot them; Ctrl-C ends the recording, and what there is so far is plotted."""
    from virtagent.bench.extras import require  # noqa: PLC0415 - for plots only
    from virtagent.cli.bench_files import check_endings, check_writable  # noqa: PLC0415

    require(plots=True)
    check_writable(path)
    check_endings((path,))
    if duration / interval < FEWEST - 1:
        raise UsageError(f"{duration:g} s of samples every {interval:g} s are too few for a plot; give a longer --for")
    samples: list[Sample] = []

    async def work(guest: Guest) -> None:
        groups: Any = RECORDED
        following = guest.stats.follow(interval=interval, groups=groups, changes_only=changes_only(settings, changes))
        try:
            async with aclosing(following) as stream:  # type: ignore[type-var]
                async for sample in stream:
                    samples.append(sample)
                    progress(samples, duration)
                    if sample.clock - samples[0].clock >= duration - interval / 2:
                        break
        finally:
            progress([], 0)
            if len(samples) >= FEWEST:
                save(path, find_target(settings).name, samples)
        if settings.json:
            say(to_json({"plot": path, "samples": len(samples)}))

    return with_guest(settings, work)


def save(path: str, name: str, samples: list[Sample]) -> None:
    """Write the picture."""
    from virtagent.bench.stats_plot import save_stats_plot  # noqa: PLC0415 - matplotlib takes half a second

    save_stats_plot(path, name, samples)


def progress(samples: list[Sample], duration: float) -> None:
    """How far the recording is, on a terminal only; no samples: it is over."""
    if not sys.stderr.isatty():
        return
    text = f"{samples[-1].clock - samples[0].clock:.0f} of {duration:.0f} s recorded" if samples else ""
    sys.stderr.write(f"\r\033[K{text}")
    sys.stderr.flush()
