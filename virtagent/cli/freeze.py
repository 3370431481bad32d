"""``virtagent freeze``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from virtagent.cli.durations import seconds
from virtagent.cli.failures import EXIT_OK
from virtagent.cli.main import shared_options
from virtagent.cli.output import complain, say
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json
from virtagent.errors import Aborted, UsageError

if TYPE_CHECKING:
    from virtagent.host.guest import Guest
    from virtagent.host.storage import FreezeLease

__all__ = ["command"]

SPARE = 10.0
"""Seconds that the guest's own deadline is beyond ours: it is for when we cannot thaw any more."""

LONGEST = 3590.0
GRACE = 5.0
"""Seconds that the command has between SIGTERM and SIGKILL."""

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes of a shell for a command that cannot be run."""


class WithCommand(click.Command):
    """What stands behind ``--`` is a command, and no mountpoint."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["virtagent.command"] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])


@click.command(
    cls=WithCommand,
    options_metavar="[OPTIONS]",
    epilog="""\b
Examples:
  virtagent --to web1 freeze -- lvcreate --snapshot --name web1-now --size 2G vg0/web1
  virtagent --to web1 freeze /srv /var --for 30
  virtagent --to web1 freeze --no-hooks -- sh -c 'qemu-img snapshot ...'""",
)
@click.argument("mountpoints", metavar="[MOUNTPOINT]... [-- COMMAND...]", nargs=-1)
@click.option("--for", "period", default="60", metavar="TIME", help="Thaw after so long at the latest. [60s]")
@click.option("--no-hooks", is_flag=True, help="Do not run the guest's freeze hooks.")
@shared_options
@click.pass_context
def command(
    context: click.Context, settings: Settings, mountpoints: tuple[str, ...], period: str, no_hooks: bool
) -> int:
    """Freeze the guest's filesystems, for a consistent snapshot.

    With a COMMAND, it is run here while they are frozen, and they are thawed however it ends; its exit code is ours,
    unless they were not frozen to its end: then that is an error. Without one they are frozen until Ctrl-C, or until
    the time has passed. Should this program or its connection be lost, the guest thaws by itself.
    """
    return freeze_guest(settings, mountpoints, seconds(period), no_hooks, context.meta["virtagent.command"])


def freeze_guest(
    settings: Settings, mountpoints: tuple[str, ...], period: float, no_hooks: bool, argv: Sequence[str]
) -> int:
    """Freeze, run or wait, thaw."""
    if not 0 < period <= LONGEST:
        raise UsageError(f"--for may be up to {LONGEST:g} seconds")

    async def freeze(guest: Guest) -> int:
        begun = time.monotonic()
        lease = guest.storage.freeze([*mountpoints] or None, deadline=period + SPARE, hooks=not no_hooks)
        async with lease:
            tell(settings, lease)
            code = await run_for(argv, lease, period) if argv else EXIT_OK
            if not argv:
                await lease.wait_lost(period)
        if settings.json:
            say(to_json(lease.state))
        else:
            say(f"thawed after {time.monotonic() - begun:.1f} s")
        return code

    return with_guest(settings, freeze)


def tell(settings: Settings, lease: FreezeLease) -> None:
    """What is frozen, and what is not."""
    if settings.json:
        say(to_json(lease.state))
        return
    frozen = [f"{each.mountpoint} ({each.type})" for each in lease.state.filesystems if each.status == "frozen"]
    say(one_line(f"frozen: {', '.join(frozen)}"))
    for each in lease.left_out:
        say(one_line(f"left out: {each.mountpoint}: {each.error}"))


async def run_for(argv: Sequence[str], lease: FreezeLease, period: float) -> int:
    """Run a command here; its exit code. It is ended when the time has passed, or nothing is frozen any more."""
    import asyncio  # noqa: PLC0415 - loaded by now, see run()

    try:
        process = await asyncio.create_subprocess_exec(*argv)
    except OSError as error:
        complain(f"{argv[0]}: {error.strerror or error}; nothing was done but a freeze and a thaw")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    ended = asyncio.ensure_future(process.wait())
    lost = asyncio.ensure_future(lease.wait_lost(period))
    try:
        await asyncio.wait([ended, lost], return_when=asyncio.FIRST_COMPLETED)
        if not ended.done() and lease.lost is None:
            raise Aborted(f"the command took longer than {period:g} s, and was ended; give it longer with --for")
    finally:
        lost.cancel()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            done, _ = await asyncio.wait([ended], timeout=GRACE)
            if not done:
                process.kill()
    code = await ended
    return code if code >= 0 else 128 - code
