"""``virtagent attach``."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import click

from virtagent.cli.arguments import size
from virtagent.cli.exit_status import PassingCommand, Status, status_of
from virtagent.cli.main import shared_options
from virtagent.cli.output import Output, complain
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import to_json
from virtagent.errors import VirtagentError

if TYPE_CHECKING:
    from virtagent.api.jobs import JobInfo, JobOutput
    from virtagent.host.guest import Guest

__all__ = ["command"]


@click.command(
    cls=PassingCommand,
    epilog="""\b
Examples:
  virtagent --to web1 attach 3
  virtagent --to web1 attach 3 --from 0 --no-follow > log
  virtagent --to web1 attach -i 4

When the job ends, its exit code is that of this command, as for exec. Ctrl-C (or Enter ~ . with -i and a
terminal) leaves; the job goes on.""",
)
@click.argument("job", type=click.IntRange(min=1))
@click.option("--from", "offset", metavar="OFFSET", help="Where to begin, in bytes of its output. [what is kept]")
@click.option("--no-follow", is_flag=True, help="End with what there is.")
@click.option("-i", "--interactive", is_flag=True, help="Give it what comes on standard input.")
@shared_options
def command(settings: Settings, job: int, offset: str | None, no_follow: bool, interactive: bool) -> int:
    """Show the output of a job, and what it goes on to write."""
    start = None if offset is None else size(offset)
    status = Status()

    async def attach(guest: Guest) -> int | None:
        import asyncio  # noqa: PLC0415 - run() chooses how it is loaded

        from virtagent.cli.local_terminal import raw_terminal  # noqa: PLC0415 - not needed for --help
        from virtagent.cli.signals import forwarding  # noqa: PLC0415

        attached = Attached(guest, settings, await guest.jobs.status(job), status)
        terminal = attached.info.terminal
        try:
            with forwarding(attached.forwarder), raw_terminal(keys=interactive and terminal, output=terminal):
                await attached.follow(start, follow=not no_follow, interactive=interactive)
        except asyncio.CancelledError:
            if not attached.forwarder.ended_by:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            return 128 + attached.forwarder.ended_by
        return None

    return status.final(with_guest(settings, attach))


class Attached:
    """One job as somebody looks at it."""

    def __init__(self, guest: Guest, settings: Settings, info: JobInfo, status: Status) -> None:
        from virtagent.cli.signals import Forwarder  # noqa: PLC0415 - not needed for --help

        self._guest = guest
        self._settings = settings
        self.info = info
        self._status = status
        self._out, self._err = Output(), Output(sys.stderr)
        self.forwarder = Forwarder(None, self._resize if info.terminal else None)

    async def follow(self, start: int | None, *, follow: bool, interactive: bool) -> None:
        """Show its output, to its end or that of what there is."""
        import asyncio  # noqa: PLC0415 - run() chooses how it is loaded

        from virtagent.service.streams import TypedStream  # noqa: PLC0415 - not needed for --help

        writing = asyncio.create_task(self._write()) if interactive else None
        if interactive and self.info.terminal:
            await self._resize()
        try:
            pieces = self._guest.jobs.output(self.info.job, offset=start, follow=follow)
            async with TypedStream.of(pieces) as stream:
                async for piece in stream:
                    await self._show(piece)
        finally:
            if writing is not None:
                writing.cancel()
                await asyncio.wait({writing})
        if self._status.code is None:
            self._status.code = 0

    async def _show(self, piece: JobOutput) -> None:
        if piece.exited is not None:
            self._status.code = status_of(piece.exited)
        if self._settings.json:
            said: dict[str, Any] = {name: getattr(piece, name) for name in piece.__struct_fields__}
            await self._out.line(to_json({name: value for name, value in said.items() if value or name == "offset"}))
            return
        if piece.lost:
            complain(f"{piece.lost} bytes of its output are not kept any more")
        if piece.stdout:
            await self._out.write(piece.stdout)
        if piece.stderr:
            await self._err.write(piece.stderr)

    async def _write(self) -> None:
        from virtagent.cli.local_terminal import is_terminal  # noqa: PLC0415 - not needed for --help
        from virtagent.cli.standard_input import standard_input  # noqa: PLC0415

        typed = self.info.terminal and is_terminal()
        source = standard_input(escape=self.forwarder.give_up if typed else None)
        patient = self._guest.with_options(deadline=math.inf)
        try:
            await patient.jobs.write(self.info.job, source, close=not typed)
        except VirtagentError as error:
            complain(f"its stdin: {error}")

    async def _resize(self) -> None:
        from virtagent.cli.local_terminal import terminal_size  # noqa: PLC0415 - not needed for --help

        try:
            await self._guest.jobs.resize(self.info.job, *terminal_size())
        except VirtagentError:
            return  # it has ended
