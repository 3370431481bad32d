"""``virtagent hardware``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from virtagent.cli.default_command import DefaultGroup
from virtagent.cli.failures import EXIT_FAILED, EXIT_OK
from virtagent.cli.main import shared_options
from virtagent.cli.output import complain, say
from virtagent.cli.session import with_guest
from virtagent.cli.table import show_table
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json
from virtagent.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from virtagent.api.hardware import MemoryBlocks, PciDevice, Vcpu
    from virtagent.host.guest import Guest

__all__ = ["command"]

MOST = 1024


@click.group(
    short_help="Show processors, memory and PCI devices; switch them on and off.",
    cls=DefaultGroup,
    epilog="""\b
Examples:
  virtagent --to web1 hardware
  virtagent --to web1 hardware cpus --offline 2-3
  virtagent --to web1 hardware memory --online 40-47
  virtagent --to web1 hardware pci --json""",
)
def command() -> None:
    """Show the guest's processors, memory and PCI devices; switch processors and memory on and off."""


@command.command("show")
@shared_options
def show(settings: Settings) -> int:
    """Processors, memory and PCI devices."""

    async def work(guest: Guest) -> None:
        cpus, devices = await guest.hardware.vcpus(), await guest.hardware.pci()
        memory: MemoryBlocks | None
        try:
            memory = await guest.hardware.memory_blocks()
        except Unavailable:
            memory = None
        if settings.json:
            say(to_json({"vcpus": cpus, "memory": memory, "pci": devices}))
            return
        online = sum(each.online for each in cpus)
        say(f"{'processors:':15} {online} of {len(cpus)} online")
        if memory is not None:
            say(f"{'memory:':15} {memory_text(memory)}")
        if devices:
            say("")
            show_pci(devices)

    return with_guest(settings, work)


def memory_text(memory: MemoryBlocks) -> str:
    """How much of it is on."""
    online = sum(each.online for each in memory.blocks)
    unit = memory.size >> 20
    return f"{online} of {len(memory.blocks)} blocks online, {unit} MiB each, {online * unit:,} MiB together"


def show_pci(devices: Sequence[PciDevice]) -> None:
    """A row for each."""
    rows = [
        (
            each.address,
            each.class_name or each.class_code,
            f"{each.vendor}:{each.device}",
            " ".join(name for name in (each.vendor_name, each.device_name) if name),
            each.driver,
        )
        for each in devices
    ]
    show_table(("ADDRESS", "CLASS", "ID", "NAME", "DRIVER"), rows)


def show_cpus(cpus: Sequence[Vcpu]) -> None:
    """A row for each."""
    rows = [
        (each.number, "online" if each.online else "offline", yes(each.can_offline), each.socket, each.core, each.node)
        for each in cpus
    ]
    show_table(("CPU", "STATE", "SWITCHABLE", "SOCKET", "CORE", "NODE"), rows, right=("CPU", "SOCKET", "CORE", "NODE"))


def show_memory(memory: MemoryBlocks) -> None:
    """A row for each."""
    rows = [
        (
            each.number,
            "online" if each.online else "offline",
            yes(each.can_offline),
            f"{each.number * memory.size:#x}",
            each.node,
            " ".join(each.zones),
        )
        for each in memory.blocks
    ]
    show_table(("BLOCK", "STATE", "SWITCHABLE", "ADDRESS", "NODE", "ZONES"), rows, right=("BLOCK", "ADDRESS", "NODE"))


def yes(value: bool) -> str:
    """A word."""
    return "yes" if value else "no"


def parse_numbers(text: str) -> list[int]:
    """ "0,2-5" as numbers.

    Raises:
        UsageError: it is something else, or too many.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"{text!r} is no list of numbers; write such as 1,4-7")
        numbers = range(int(first), int(last or first) + 1)
        if len(found) + len(numbers) > MOST:
            raise UsageError(f"{text!r} are more than {MOST} at a time")
        found += numbers
    return found


def switching(name: str, does: str, read: str, write: str, show_them: Any, items: Any) -> None:
    """A command that lists, and switches.

    Args:
        read, write: the methods.
        show_them: prints a table of what was read.
        items: takes single things out of what was read.
    """

    @command.command(name, help=does)
    @click.option("--online", metavar="NUMBERS", help="Switch these on, such as 1,4-7.")
    @click.option("--offline", metavar="NUMBERS", help="Switch these off.")
    @shared_options
    def run(settings: Settings, online: str | None, offline: str | None) -> int:
        wanted = [(number, True) for number in parse_numbers(online)] if online else []
        wanted += [(number, False) for number in parse_numbers(offline)] if offline else []

        async def work(guest: Guest) -> int:
            if wanted:
                return await switch(guest, settings, write, wanted)
            found = await getattr(guest.hardware, read)()
            if not settings.json:
                show_them(found)
            else:
                for each in items(found):
                    say(to_json(each))
            return EXIT_OK

        return with_guest(settings, work)


async def switch(guest: Guest, settings: Settings, write: str, wanted: list[tuple[int, bool]]) -> int:
    """Switch things; 1 if one of them was not."""
    from virtagent.api.hardware import Switch  # noqa: PLC0415 - loaded by now

    done = await getattr(guest.hardware, write)([Switch(number=number, online=on) for number, on in wanted])
    failed = False
    for each in done:
        if settings.json:
            say(to_json(each))
        if each.result not in ("done", "unchanged"):
            failed = True
            complain(one_line(f"{each.number}: {each.result}: {each.error}"))
    return EXIT_FAILED if failed else EXIT_OK


switching("cpus", "List processors, or switch some.", "vcpus", "set_vcpus", show_cpus, lambda found: found)
switching(
    "memory",
    "List blocks of memory, or switch some.",
    "memory_blocks",
    "set_memory_blocks",
    show_memory,
    lambda found: found.blocks,
)


@command.command("pci")
@shared_options
def pci(settings: Settings) -> int:
    """List PCI devices."""

    async def work(guest: Guest) -> None:
        found = await guest.hardware.pci()
        if not settings.json:
            show_pci(found)
        else:
            for each in found:
                say(to_json(each))

    return with_guest(settings, work)
