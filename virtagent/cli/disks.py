"""``virtagent disks``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.sizes import human_size
from virtagent.cli.table import show_table
from virtagent.cli.target import Settings
from virtagent.cli.text import to_json

if TYPE_CHECKING:
    from virtagent.api.storage import Disk, DiskAddress, Filesystem
    from virtagent.host.guest import Guest

__all__ = ["command"]


@click.command(
    short_help="Print the guest's filesystems and disks.",
    epilog="""\b
Examples:
  virtagent --to web1 disks
  virtagent --to web1 disks --json | jq 'select(.disk) | .disk.address'
  virtagent --to web1 disks --all --network""",
)
@click.option("--all", "everything", is_flag=True, help="The kernel's own filesystems, too.")
@click.option("--network", is_flag=True, help="Ask file servers for sizes, too.")
@shared_options
def command(settings: Settings, everything: bool, network: bool) -> int:
    """Print the guest's filesystems and disks, and how they are attached."""

    async def show(guest: Guest) -> None:
        filesystems = await guest.storage.filesystems(everything=everything, ask_network=network)
        disks = await guest.storage.disks()
        if settings.json:
            for filesystem in filesystems:
                say(to_json({"filesystem": filesystem}))
            for disk in disks:
                say(to_json({"disk": disk}))
            return
        show_table(
            ("MOUNTPOINT", "SOURCE", "TYPE", "SIZE", "USED", "AVAILABLE", "USE", "NOTES"),
            [filesystem_row(each) for each in filesystems],
            right=("SIZE", "USED", "AVAILABLE", "USE"),
        )
        say("")
        show_table(
            ("DISK", "KIND", "SIZE", "ON", "ADDRESS", "SERIAL", "MODEL", "MOUNTED"),
            [disk_row(each) for each in disks],
            right=("SIZE",),
        )

    return with_guest(settings, show)


def filesystem_row(each: Filesystem) -> tuple[object, ...]:
    """One filesystem."""
    notes = [
        *(["frozen"] if each.frozen else []),
        *(["read-only"] if each.read_only else []),
        *(["network"] if each.network else []),
        *([each.error] if each.error else []),
        *([f"also at {', '.join(each.other_mountpoints[:3])}"] if each.other_mountpoints else []),
    ]
    usable = None if each.used is None or each.available is None else each.used + each.available
    share = f"{100 * each.used / usable:.0f}%" if usable and each.used is not None else ""
    return (
        each.mountpoint,
        each.source,
        each.type,
        human_size(each.total),
        human_size(each.used),
        human_size(each.available),
        share,
        "; ".join(notes),
    )


def disk_row(each: Disk) -> tuple[object, ...]:
    """One disk."""
    address = each.address
    return (
        each.name,
        each.kind,
        human_size(each.size),
        ", ".join(each.parents),
        "" if address is None else address_text(address),
        "" if address is None else address.serial,
        f"{each.vendor} {each.model}".strip() or each.alias,
        ", ".join(each.mountpoints) or ("[swap]" if each.swap else ""),
    )


def address_text(address: DiskAddress) -> str:
    """``virtio 0000:00:05.0``, ``scsi 0000:00:04.0 0:0:1``."""
    pci = address.pci
    where = "" if pci is None else f"{pci.domain:04x}:{pci.bus:02x}:{pci.slot:02x}.{pci.function}"
    unit = ":".join("?" if each is None else str(each) for each in (address.bus, address.target, address.unit))
    return " ".join(filter(None, (address.bus_type, where or address.ccw, "" if unit in ("?:?:?", "0:0:0") else unit)))
