"""``virtagent time``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json
from virtagent.errors import UsageError

if TYPE_CHECKING:
    from virtagent.api.system import ClockState
    from virtagent.host.drift import Drift
    from virtagent.host.guest import Guest
    from virtagent.host.system import Synchronized

__all__ = ["command"]


def moment(nanoseconds: int) -> str:
    """A guest's clock, in UTC."""
    return f"{datetime.fromtimestamp(nanoseconds / 1e9, UTC):%F %T.%f}"[:-3] + " UTC"


def span(nanoseconds: int) -> str:
    """ "1.234 ms"; hours and days in words are of no use for a difference of clocks."""
    for unit, name in ((10**9, "s"), (10**6, "ms"), (10**3, "µs")):
        if abs(nanoseconds) >= unit:
            return f"{nanoseconds / unit:,.3f} {name}"
    return f"{nanoseconds} ns"


def drift_text(drift: Drift) -> str:
    """How far the guest is ahead, and how exact that is."""
    exact = f"± {span(drift.uncertainty)}, fastest of {drift.samples}"
    if not drift.is_significant:
        return f"none that could be told ({exact})"
    return f"{span(abs(drift.offset))} {'ahead' if drift.offset > 0 else 'behind'} ({exact})"


def rows(state: ClockState, drift: Drift) -> list[tuple[str, str]]:
    """What there is to tell of a clock."""
    zone = state.timezone
    by = f", by {state.service}" if state.service else ""
    found = [
        ("guest", moment(state.realtime)),
        ("drift", drift_text(drift)),
        ("synchronized", "" if state.synchronized is None else f"{'yes' if state.synchronized else 'no'}{by}"),
        ("slewing", span(state.slewing) if state.slewing else ""),
        ("hardware", "" if state.rtc is None else f"{moment(state.rtc)}, {span(state.rtc - state.realtime)} from it"),
        ("time zone", "" if zone is None else f"{zone.name or zone.abbreviation} ({zone.offset / 3600:+g} h)"),
    ]
    return [(name, one_line(value)) for name, value in found if value]


def changed_text(done: Synchronized) -> str:
    """What was done about the drift."""
    change = done.change
    if change is None or done.after is None:
        return f"nothing to do: drift {drift_text(done.before)}"
    lines = [f"{'before:':15} {drift_text(done.before)}"]
    if change.slewing:
        hours = abs(change.slewing) / 500e-6 / 3600e9
        lines.append(f"{'slewing:':15} {span(change.slewing)} at 500 ppm, which takes {hours:.1f} h")
    else:
        lines.append(f"{'after:':15} {drift_text(done.after)}")
    hardware = f"failed: {change.rtc_error}" if change.rtc == "failed" else change.rtc
    if change.rtc != "not asked":
        lines.append(f"{'hardware:':15} {one_line(hardware)}")
    if change.service:
        lines.append(f"{'beware:':15} {one_line(change.service)} keeps this clock, and may set it back")
    return "\n".join(lines)


@click.command(
    short_help="Compare, set and slew the guest's clock.",
    epilog="""\b
Examples:
  virtagent --to web1 time
  virtagent --to web1 time --set             # after a resume, or a restore from a snapshot
  virtagent --to web1 time --slew            # where a clock must not jump
  virtagent --to web1 time --json | jq .drift.offset""",
)
@click.option("--set", "step", is_flag=True, help="Set the guest's clock to this machine's, at once.")
@click.option("--slew", is_flag=True, help="Let it run faster or slower until it is right; 5 minutes at most.")
@click.option("--no-rtc", is_flag=True, help="With --set: leave the hardware clock as it is.")
@click.option("--samples", type=click.IntRange(1, 1000), default=8, metavar="N", help="How often to measure. [8]")
@shared_options
def command(settings: Settings, step: bool, slew: bool, no_rtc: bool, samples: int) -> int:
    """Measure how far the guest's clock is from this machine's, and set it.

    The drift is measured over the channel: the fastest of several round trips counts, and half of it is how exact the
    result is.
    """
    if step and slew:
        raise UsageError("--set and --slew exclude each other; choose one")
    if no_rtc and not step:
        raise UsageError("--no-rtc says how to --set; add that")

    async def show(guest: Guest) -> None:
        if step or slew:
            done = await guest.system.synchronize(slew=slew, rtc=not no_rtc, samples=samples)
            say(to_json(done) if settings.json else changed_text(done))
            return
        drift, state = await guest.system.drift(samples), await guest.system.clock()
        if settings.json:
            say(to_json({"drift": drift, "clock": state}))
        else:
            say("\n".join(f"{name + ':':15} {value}" for name, value in rows(state, drift)))

    return with_guest(settings, show)
