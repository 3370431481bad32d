"""``virtagent events``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtagent.host.guest import Guest
    from virtagent.service.service import Service

__all__ = ["command"]


def as_text(name: str, fields: dict[str, Any]) -> str:
    """One line: when it came here, what it is, and its fields."""
    shown = {key: value for key, value in fields.items() if value not in (None, "") and key != "time"}
    if "load" in shown:
        shown["load"] = ",".join(f"{each:.2f}" for each in shown["load"])
    told = " ".join(f"{key}={one_line(str(value))}" for key, value in shown.items())
    return f"{datetime.now(UTC).astimezone():%F %T} {name} {told}".rstrip()


class Reporter:
    """Prints events, so many at most.

    Attributes:
        left: how many are still wanted; None: all.
        when_done: called after the last one.
    """

    def __init__(self, count: int | None, *, json: bool) -> None:
        self.left = count
        self.when_done: Callable[[], object] = bool
        self._json = json

    def __call__(self, name: str, fields: dict[str, Any]) -> None:
        if self.left == 0:
            return
        say(to_json({"event": name, **fields}) if self._json else as_text(name, fields))
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                self.when_done()


@click.command()
@click.option("-c", "--count", type=click.IntRange(1), metavar="N", help="End after so many. [never]")
@shared_options
def command(settings: Settings, count: int | None) -> int:
    """Print the agent's notifications as they come.

    up, heartbeat and down, and the state of the connection, which is opened again whenever it is lost.
    """
    reporter = Reporter(count, json=settings.json)

    async def watch(guest: Guest) -> None:
        import asyncio  # noqa: PLC0415 - loaded by now, see run()

        states = asyncio.ensure_future(follow_states(guest, reporter))
        reporter.when_done = states.cancel
        if reporter.left != 0:
            await asyncio.wait([states])

    def receivers() -> list[Service]:
        from virtagent.cli.event_receiver import EventReceiver  # noqa: PLC0415 - loads the typed layer

        return [EventReceiver(reporter)]

    return with_guest(settings, watch, services=receivers)


async def follow_states(guest: Guest, reporter: Reporter) -> None:
    """Report each state of the connection."""
    async for state in guest.states():
        reporter("state", {"state": state.value, "detail": guest.detail})
