"""``virtagent ping``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from virtagent.cli.failures import EXIT_DEADLINE, EXIT_OK
from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_peer
from virtagent.cli.target import Settings, Target
from virtagent.cli.text import one_line, to_json

if TYPE_CHECKING:
    from virtagent.peer.connecting import ConnectingPeer

__all__ = ["command"]

TIMEOUT = 10.0
"""Seconds to wait for one answer."""


class Statistics:
    """Round trips so far, in seconds."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = time.monotonic()
        self.sent = 0
        self.times: list[float] = []

    def as_data(self) -> dict[str, object]:
        """Plain data; times in milliseconds."""
        out: dict[str, object] = {"sent": self.sent, "answered": len(self.times)}
        if self.times:
            mean = sum(self.times) / len(self.times)
            deviation = (sum((each - mean) ** 2 for each in self.times) / len(self.times)) ** 0.5
            values = {"min": min(self.times), "avg": mean, "max": max(self.times), "mdev": deviation}
            out |= {f"{key}_ms": round(value * 1e3, 3) for key, value in values.items()}
        return out

    def as_text(self) -> str:
        """The summary that ping(8) prints."""
        data, answered = self.as_data(), len(self.times)
        lost = 100 * (self.sent - answered) / self.sent if self.sent else 0.0
        taken = (time.monotonic() - self._began) * 1e3
        lines = [
            f"--- {self._name}: ping statistics ---",
            f"{self.sent} sent, {answered} answered, {lost:.0f}% lost, time {taken:.0f} ms",
        ]
        if self.times:
            lines.append("rtt min/avg/max/mdev = {min_ms}/{avg_ms}/{max_ms}/{mdev_ms} ms".format_map(data))
        return "\n".join(lines)


@click.command(
    epilog="""\b
Examples:
  virtagent --to web1 ping
  virtagent --to web1 ping -c 10 -i 0.2""",
)
@click.option("-c", "--count", type=click.IntRange(0), default=1, metavar="N", help="How many; 0: until Ctrl-C. [1]")
@click.option("-i", "--interval", type=click.FloatRange(0), default=1.0, metavar="SECONDS", help="Between two. [1]")
@shared_options
def command(settings: Settings, count: int, interval: float) -> int:
    """Measure the round trip to the guest's agent."""

    async def ping(target: Target, peer: ConnectingPeer) -> int:
        statistics = Statistics(target.name)
        who = peer.info.identity if peer.info is not None else None
        answerer = one_line(f"{who.name} ({who.software})") if who is not None else target.name
        try:
            await _ping_all(peer, answerer, statistics, count=count, interval=interval, settings=settings)
        finally:
            if settings.json:
                say(to_json(statistics.as_data()))
            elif count != 1:
                say(statistics.as_text())
        return EXIT_OK if statistics.times else EXIT_DEADLINE

    return with_peer(settings, ping)


async def _ping_all(
    peer: ConnectingPeer, answerer: str, statistics: Statistics, *, count: int, interval: float, settings: Settings
) -> None:
    import asyncio  # noqa: PLC0415 - loaded by now, see run()

    from virtagent.errors import DeadlineExceeded, SessionLost  # noqa: PLC0415

    while not count or statistics.sent < count:
        if statistics.sent:
            await asyncio.sleep(interval)
        statistics.sent += 1
        try:
            seconds = await peer.ping(settings.timeout or TIMEOUT)
        except (DeadlineExceeded, SessionLost) as error:
            if count == 1:
                raise
            text = f"seq={statistics.sent} lost: {one_line(str(error))}"
        else:
            statistics.times.append(seconds)
            text = f"answer from {answerer}: seq={statistics.sent} time={seconds * 1e3:.3f} ms"
        if not settings.json:
            say(text)
