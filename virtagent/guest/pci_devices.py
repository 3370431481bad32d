"""PCI devices of sysfs (Documentation/PCI/sysfs-pci.rst), with the names of pci.ids."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from virtagent.api.hardware import PciDevice
from virtagent.peer.identity import read_line

__all__ = ["PCI_IDS", "PciNames", "pci_devices"]

PCI_IDS = (
    Path("/usr/share/misc/pci.ids"),
    Path("/usr/share/hwdata/pci.ids"),
    Path("/usr/share/pci.ids"),
    Path("/var/lib/pciutils/pci.ids"),
)

LARGEST = 16 * 1024 * 1024
MOST = 4096

_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_HEX = re.compile(r"0x([0-9a-f]{2,8})")


class PciNames:
    """The names that are wanted, from one pass through the file.

    Attributes:
        vendors: by number.
        devices: by the vendor's and its own number.
        classes: by class, or class and subclass.
    """

    def __init__(self) -> None:
        self.vendors: dict[str, str] = {}
        self.devices: dict[tuple[str, str], str] = {}
        self.classes: dict[str, str] = {}

    def read(self, lines: Iterable[str], wanted: set[tuple[str, str]]) -> None:
        """Take what is wanted of the devices, and all of the classes.

        Args:
            wanted: vendors and devices, by number.
        """
        vendors = {vendor for vendor, _ in wanted}
        vendor = base = ""
        for line in lines:
            if line.startswith("C ") and len(line) > 5:
                vendor, base = "", line[2:4]
                self.classes[base] = line[4:].strip()
            elif line[:1] not in ("\t", "#", "", "\n"):
                number, _, name = line.partition("  ")
                vendor, base = (number if number in vendors else ""), ""
                if vendor:
                    self.vendors[vendor] = name.strip()
            elif line.startswith("\t") and line[1:2] != "\t":
                number, _, name = line[1:].partition("  ")
                if vendor and (vendor, number) in wanted:
                    self.devices[vendor, number] = name.strip()
                elif base:
                    self.classes[base + number] = name.strip()

    def class_of(self, code: str) -> str:
        """The name of a class code: of its subclass, or else of its class."""
        return self.classes.get(code[:4]) or self.classes.get(code[:2], "")


def _hex(folder: Path, name: str) -> str:
    match = _HEX.fullmatch(read_line(folder / name))
    return "" if match is None else match[1]


def pci_devices(sys: Path, files: Sequence[Path] = PCI_IDS) -> list[PciDevice]:
    """The devices, by address; none where there is no such bus."""
    root = sys / "bus" / "pci" / "devices"
    try:
        addresses = sorted(name for name in os.listdir(root) if _ADDRESS.fullmatch(name))[:MOST]
    except OSError:
        return []
    numbers = {address: (_hex(root / address, "vendor"), _hex(root / address, "device")) for address in addresses}
    names = _names(files, set(numbers.values()))
    return [_device(root / address, *numbers[address], names) for address in addresses]


def _names(files: Sequence[Path], wanted: set[tuple[str, str]]) -> PciNames:
    names = PciNames()
    for path in files:
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                names.read(file.read(LARGEST).splitlines(), wanted)
            break
        except OSError:
            continue
    return names


def _device(folder: Path, vendor: str, device: str, names: PciNames) -> PciDevice:
    code = _hex(folder, "class")
    node = read_line(folder / "numa_node")
    try:
        driver = os.path.basename(os.readlink(folder / "driver"))
    except OSError:
        driver = ""
    return PciDevice(
        address=folder.name,
        vendor=vendor,
        device=device,
        class_code=code,
        subsystem_vendor=_hex(folder, "subsystem_vendor"),
        subsystem_device=_hex(folder, "subsystem_device"),
        revision=_hex(folder, "revision"),
        vendor_name=names.vendors.get(vendor, ""),
        device_name=names.devices.get((vendor, device), ""),
        class_name=names.class_of(code),
        driver=driver,
        node=int(node) if node.isdecimal() else None,
    )
