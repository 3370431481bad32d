"""``virtagent doctor``."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import click

from virtagent.cli.failures import EXIT_FAILED, EXIT_OK
from virtagent.cli.main import shared_options
from virtagent.cli.output import coloured, say
from virtagent.cli.session import CONNECT_TIMEOUT, run
from virtagent.cli.target import Settings, Target
from virtagent.cli.text import one_line, to_json

if TYPE_CHECKING:
    from virtagent.api.health import Finding
    from virtagent.host.guest import Guest

__all__ = ["command"]

COLOURS = {"ok": "32", "warn": "33", "fail": "31"}


class Report:
    """Shows findings as they come."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._colours = coloured()
        self.counts: Counter[str] = Counter()

    def add(self, side: str, finding: Finding) -> None:
        """Show one finding.

        Args:
            side: where it was found, "host" or "guest".
        """
        self.counts[finding.verdict] += 1
        if self._json:
            plain = {name: getattr(finding, name) for name in finding.__struct_fields__}
            say(to_json({"side": side, **plain}))
            return
        verdict = f"{finding.verdict:4}"
        if self._colours:
            verdict = f"\x1b[{COLOURS.get(finding.verdict, '0')}m{verdict}\x1b[0m"
        say(f"{verdict}  {side:5}  {one_line(finding.check):15}  {one_line(finding.message)}")
        if finding.remedy:
            say(f"{'':30}  -> {one_line(finding.remedy)}")

    def end(self) -> int:
        """The summary, and the exit code."""
        counts = self.counts
        if not self._json:
            say(f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed")
        return EXIT_FAILED if counts["fail"] else EXIT_OK


@click.command(
    short_help="Find out what works in the guest, and what to do about the rest.",
    epilog="""\b
Examples:
  virtagent --to web1 doctor
  virtagent --to web1 doctor --check clock --check journal
  virtagent --to web1 doctor --json | jq 'select(.verdict != "ok")'""",
)
@click.option("--check", "checks", multiple=True, metavar="NAME", help="Only this check in the guest; may be repeated.")
@shared_options
def command(settings: Settings, checks: tuple[str, ...]) -> int:
    """Find out what works, on the way to the guest and in it, and what to do about the rest.

    The exit code is 1 if something fails.
    """
    report = Report(json=settings.json)

    async def examine(target: Target) -> int:
        from virtagent.errors import ChannelError  # noqa: PLC0415
        from virtagent.host.connect import connect  # noqa: PLC0415 - loads the typed layer
        from virtagent.host.doctor import examine_channel, examine_guest, not_connected  # noqa: PLC0415
        from virtagent.peer.options import PeerOptions  # noqa: PLC0415

        for finding in examine_channel(target.url):
            report.add("host", finding)
        if report.counts["fail"]:
            return report.end()
        began = time.monotonic()
        try:
            guest = await connect(
                target.url,
                timeout=settings.timeout or CONNECT_TIMEOUT,
                deadline=settings.timeout,
                options=PeerOptions(trace=settings.trace),
            )
        except ChannelError as error:
            report.add("host", not_connected(error))
            return report.end()
        try:
            async for finding in examine_guest(guest, time.monotonic() - began):
                report.add("host", finding)
            await ask(guest, checks, report)
        finally:
            await guest.aclose()
        return report.end()

    return run(settings, examine)


async def ask(guest: Guest, checks: tuple[str, ...], report: Report) -> None:
    """Show what the guest's own doctor finds, if it has one and lets us ask."""
    from virtagent.api.health import Finding  # noqa: PLC0415 - loaded by now
    from virtagent.errors import MethodNotFound, PermissionDenied  # noqa: PLC0415

    try:
        async for finding in guest.health.doctor(checks=checks):
            report.add("guest", finding)
    except MethodNotFound as error:
        message = f"the agent has no doctor of its own: {error}"
        report.add("guest", Finding(check="doctor", verdict="warn", message=message, remedy="update the agent"))
    except PermissionDenied as error:
        report.add("guest", Finding(check="doctor", verdict="warn", message=str(error)))
