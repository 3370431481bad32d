"""``virtagent events``."""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from virtagent.cli.main import shared_options
from virtagent.cli.output import Output, coloured, complain
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from virtagent.api.events import Event
    from virtagent.host.guest import Guest
    from virtagent.service.service import Service

__all__ = ["command"]

BOLD, RED, PLAIN = "\033[1m", "\033[31m", "\033[0m"

GRAVE = frozenset({"events.gap", "events.source_failed", "memory.oom_kill", "unit.failed"})
"""What is shown in red."""


def as_text(name: str, fields: dict[str, Any], *, colours: bool = False) -> str:
    """One line: when it happened, what it is, its fields, and its number if it has one."""
    shown = {key: value for key, value in fields.items() if value not in (None, "") and key not in ("time", "number")}
    if "load" in shown:
        shown["load"] = ",".join(f"{each:.2f}" for each in shown["load"])
    told = " ".join(f"{key}={one_line(_as_value(value))}" for key, value in shown.items())
    when = fields["time"] if isinstance(fields.get("time"), datetime) else datetime.now(UTC)
    number = f"#{fields['number']}" if "number" in fields else ""
    title = one_line(name)
    if colours:
        title = f"{RED if name in GRAVE else BOLD}{title}{PLAIN}"
    return " ".join(filter(None, (f"{when.astimezone():%F %T}", title, told, number)))


def _as_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


class Reporter:
    """Prints events, so many at most.

    Attributes:
        left: how many are still wanted; None: all.
    """

    def __init__(self, patterns: tuple[str, ...], count: int | None, *, json: bool) -> None:
        import asyncio  # noqa: PLC0415 - loaded by now, see run()

        self.left = count
        self._patterns = patterns
        self._json = json
        self._colours = coloured()
        self._output = Output()
        self._lines: asyncio.Queue[str] = asyncio.Queue()

    def wants(self, name: str) -> bool:
        """Whether events of this name are asked for."""
        return not self._patterns or any(fnmatchcase(name, each) for each in self._patterns)

    def __call__(self, name: str, fields: dict[str, Any]) -> None:
        if self.wants(name):
            self.always(name, fields)

    def always(self, name: str, fields: dict[str, Any]) -> None:
        """Print an event, whatever was asked for."""
        if self.left == 0:
            return
        if self.left is not None:
            self.left -= 1
        self._lines.put_nowait(
            to_json({"event": name, **fields}) if self._json else as_text(name, fields, colours=self._colours)
        )

    async def write(self) -> None:
        """Write what comes, until so many as are wanted have been written."""
        while self.left != 0 or not self._lines.empty():
            await self._output.line(await self._lines.get())

    async def flush(self) -> None:
        """Write what has come."""
        while not self._lines.empty():
            await self._output.line(self._lines.get_nowait())


@click.command(
    epilog="""\b
    Examples:
      virtagent events                           # everything, until Ctrl-C
      virtagent events 'mount.*' unit.failed     # only these
      virtagent events -c 1 power.stopping       # wait until the guest is about to go down
      virtagent events --since 120 --json | jq .
      virtagent events --list                    # the kinds, with their fields""",
)
@click.argument("patterns", nargs=-1, metavar="[KIND]...")
@click.option("-f", "--follow/--no-follow", default=True, help="Go on with new events as they come. [yes]")
@click.option("-c", "--count", type=click.IntRange(1), metavar="N", help="End after so many. [never]")
@click.option("--since", type=click.IntRange(0), metavar="NUMBER", help="First those kept after this one; 0: all kept.")
@click.option("--list", "list_kinds", is_flag=True, help="Print the kinds of events with their fields, and end.")
@shared_options
def command(
    settings: Settings,
    patterns: tuple[str, ...],
    follow: bool,
    count: int | None,
    since: int | None,
    list_kinds: bool,
) -> int:
    """Print what happens in the guest, as it happens.

    KIND is a pattern such as mount.* or unit.failed; all kinds without one. Beside the events of the guest (--list
    shows them) there are agent.up, agent.heartbeat and agent.down, which the agent sends to each host, and state, which
    is that of the connection. The connection is opened again whenever it is lost, and what happened meanwhile is
    printed then; an event events.gap says that some were missed.
    """
    if list_kinds:
        return with_guest(settings, lambda guest: print_kinds(guest, patterns, json=settings.json))
    made: list[Reporter] = []

    def receivers() -> list[Service]:
        from virtagent.cli.event_receiver import EventReceiver  # noqa: PLC0415 - loads the typed layer

        made.append(Reporter(patterns, count, json=settings.json))
        return [EventReceiver(made[0])] if follow else []

    async def watch(guest: Guest) -> None:
        reporter = made[0]
        if follow:
            await first_to_end(
                reporter.write(), follow_states(guest, reporter), follow_events(guest, reporter, patterns, since)
            )
        else:
            await print_kept(guest, reporter, patterns, since)

    return with_guest(settings, watch, services=receivers)


async def first_to_end(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, and end the others; an error is raised."""
    import asyncio  # noqa: PLC0415 - loaded by now, see run()

    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def follow_states(guest: Guest, reporter: Reporter) -> None:
    """Report each state of the connection."""
    async for state in guest.states():
        reporter("state", {"state": state.value, "detail": guest.detail})


async def follow_events(guest: Guest, reporter: Reporter, patterns: tuple[str, ...], since: int | None) -> None:
    """Report what happens in the guest."""
    import asyncio  # noqa: PLC0415 - loaded by now, see run()

    from virtagent.errors import MethodNotFound  # noqa: PLC0415

    try:
        async with guest.events(*patterns, after=since) as events:
            for source, why in events.unavailable.items():
                complain(f"no events of {one_line(source)}: {one_line(why)}")
            point_out(events.unmatched)
            async for event in events:
                report(reporter, event, kept=since is not None)
    except MethodNotFound:
        complain("this guest's agent is too old to tell of events; what it sends by itself is shown")
        await asyncio.Event().wait()


def point_out(unmatched: Iterable[str]) -> None:
    """Tell of the patterns that match nothing: a kind that is misspelt never comes."""
    for each in sorted(set(unmatched) - {"state", "agent.heartbeat"}):
        complain(f"the guest knows no kind of event that matches {each!r}; --list shows those it knows")


def report(reporter: Reporter, event: Event, *, kept: bool) -> None:
    """Print an event. What the agent tells of itself comes as a notification, too, which goes before."""
    if event.kind.startswith("agent.") and not kept:
        return
    fields = {"number": event.number, "time": event.time, **event.fields}
    if event.kind.startswith("events."):
        if event.kind != "events.subscribed":
            reporter.always(event.kind, fields)
        return
    reporter(event.kind, fields)


async def print_kept(guest: Guest, reporter: Reporter, patterns: tuple[str, ...], since: int | None) -> None:
    """Print what the guest has kept."""
    from virtagent.service.streams import TypedStream  # noqa: PLC0415 - loads asyncio, see run()

    kept = guest.events.subscribe(patterns or ("*",), after=since or 0, follow=False)
    async with TypedStream.of(kept) as events:
        async for event in events:
            if event.kind == "events.subscribed":
                point_out(event.fields.get("unmatched") or ())
            report(reporter, event, kept=True)
            await reporter.flush()
            if reporter.left == 0:
                return


async def print_kinds(guest: Guest, patterns: tuple[str, ...], *, json: bool) -> None:
    """Print the kinds of events, what watches for them, and whether that can work."""
    output = Output()
    sources = {each.source: each for each in await guest.events.sources()}
    for kind in await guest.events.kinds():
        if patterns and not any(fnmatchcase(kind.kind, each) for each in patterns):
            continue
        if json:
            await output.line(to_json(kind))
            continue
        await output.line(f"{one_line(kind.kind)}: {one_line(kind.summary)}")
        for name, meaning in kind.fields.items():
            await output.line(f"    {one_line(name):12} {one_line(meaning)}")
        source = sources.get(kind.source)
        if source is not None and source.detail:
            await output.line(f"    ({one_line(source.state)}: {one_line(source.detail)})")
