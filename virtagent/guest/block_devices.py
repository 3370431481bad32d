"""Block devices and how they are attached, from sysfs (Documentation/ABI/stable/sysfs-block)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from virtagent.api.storage import Disk, DiskAddress, PciAddress

__all__ = ["SECTOR", "BlockDevices"]

SECTOR = 512
"""Bytes of a sector as ``size`` counts them, whatever the disk has."""

MOST = 4096
"""Devices that are told of."""

DEEPEST = 16
"""Devices that lie upon each other at most."""

_PCI = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")
_SCSI = re.compile(r"(\d+):(\d+):(\d+):(\d+)")
_CCW = re.compile(r"[0-9a-f]\.[0-9a-f]\.[0-9a-f]{4}")
_ATA = re.compile(r"ata(\d+)")

_KINDS = ("loop", "zram", "ram", "md", "sr", "dm-")
_NAMES = {"md": "raid", "sr": "rom"}
_MAPPED = {"LVM-": "lvm", "CRYPT": "crypt", "mpath": "multipath"}


class BlockDevices:
    """The block devices of one tree of sysfs.

    Args:
        root: where /sys is.
    """

    def __init__(self, root: Path = Path("/sys")) -> None:
        self._root = root

    def disks(self, mountpoints: dict[str, list[str]] | None = None, swaps: frozenset[str] = frozenset()) -> list[Disk]:
        """All of them, partitions after their disks; empty drives and unused loop devices are left out.

        Args:
            mountpoints: by "major:minor".
            swaps: the devices that are swapped to, such as "/dev/vda2".
        """
        found = [self._disk(each, mountpoints or {}, swaps) for each in self._folders()]
        return [each for each in found[:MOST] if each is not None]

    def _folders(self) -> Iterator[Path]:
        for folder in sorted((self._root / "block").glob("*"), key=lambda each: _natural(each.name)):
            yield folder
            yield from sorted(
                (each.parent for each in folder.glob("*/partition")), key=lambda each: _natural(each.name)
            )

    def _disk(self, folder: Path, mountpoints: dict[str, list[str]], swaps: frozenset[str]) -> Disk | None:
        size, device = _number(folder / "size") or 0, _line(folder / "dev")
        if not device or (not size and folder.name.startswith(("loop", "ram", "zram", "nbd"))):
            return None
        partition = (folder / "partition").exists()
        queue = (folder.resolve().parent if partition else folder) / "queue"
        name = _name(folder.name)
        return Disk(
            name=name,
            kind=_kind(folder),
            device=device,
            size=size * SECTOR,
            logical_sector=_number(queue / "logical_block_size"),
            physical_sector=_number(queue / "physical_block_size"),
            read_only=_number(folder / "ro") == 1,
            removable=_number(folder / "removable") == 1,
            rotational=None if (turns := _number(queue / "rotational")) is None else turns == 1,
            discard=bool(_number(queue / "discard_max_bytes")),
            model=_line(folder / "device" / "model"),
            vendor=_line(folder / "device" / "vendor") if (folder / "device" / "model").exists() else "",
            alias=_line(folder / "dm" / "name"),
            parents=self._parents(folder),
            mountpoints=mountpoints.get(device, []),
            swap=name in swaps,
            address=None if partition or not (folder / "device").exists() else self._address(folder),
        )

    def _parents(self, folder: Path) -> list[str]:
        if (folder / "partition").exists():
            return [_name(folder.resolve().parent.name)]
        return sorted(_name(each.name) for each in folder.glob("slaves/*"))

    # -- addresses -----------------------------------------------------------------------------------------------

    def addresses_of(self, device: str) -> list[DiskAddress]:
        """The disks that a filesystem is on.

        Args:
            device: "major:minor", or the path of a device such as "/dev/vda1".
        """
        if device.startswith("/dev/"):
            folder = self._root / "class" / "block" / os.path.basename(os.path.realpath(device)).replace("/", "!")
        else:
            folder = self._root / "dev" / "block" / device
        if not re.fullmatch(r"[\w:.!+-]{1,255}", folder.name):
            return []
        found: dict[str, DiskAddress] = {}
        self._collect(folder, found, DEEPEST)
        return list(found.values())

    def _collect(self, folder: Path, found: dict[str, DiskAddress], depth: int) -> None:
        if not depth or not folder.exists():
            return
        folder = folder.resolve()
        below = sorted(folder.glob("slaves/*"))
        if (folder / "partition").exists():
            below = [folder.parent]
        for each in below:
            self._collect(each, found, depth - 1)
        if not below and (folder / "device").exists():
            found.setdefault(folder.name, self._address(folder))

    def _address(self, folder: Path) -> DiskAddress:
        """From the chain of devices that the disk hangs on, such as
        ``pci0000:00/0000:00:05.0/virtio2/host2/target2:0:0/2:0:0:0/block/sda``."""
        parts = folder.resolve().parts
        pci = [match for part in parts if (match := _PCI.fullmatch(part))]
        scsi = next((match for part in reversed(parts) if (match := _SCSI.fullmatch(part))), None)
        ata = next((part for part in parts if _ATA.fullmatch(part)), "")
        bus, target, unit = (None, None, None) if scsi is None else (int(each) for each in scsi.groups()[1:])
        bus_type = self._bus_type(folder, parts, scsi is not None)
        if ata:
            bus_type, bus, target, unit = self._ata(folder.resolve(), ata, bus_type)
        elif scsi is None and bus_type == "virtio":
            bus, target, unit = 0, 0, 0
        return DiskAddress(
            device=_name(folder.name),
            bus_type=bus_type,
            pci=None if not pci else _pci(pci[-1]),
            bus=bus,
            target=target,
            unit=unit,
            serial=self._serial(folder),
            wwn=_line(folder / "wwid") or _line(folder / "device" / "wwid"),
            ccw=next((part for part in reversed(parts) if _CCW.fullmatch(part)), ""),
        )

    def _bus_type(self, folder: Path, parts: tuple[str, ...], scsi: bool) -> str:
        if any(part.startswith("usb") and part[3:].isdecimal() for part in parts):
            return "usb"
        if folder.name.startswith("nvme"):
            return "nvme"
        if scsi:
            return "scsi"
        for start, kind in (("vd", "virtio"), ("mmcblk", "mmc"), ("xvd", "xen"), ("hd", "ide")):
            if folder.name.startswith(start):
                return kind
        return "virtio" if any(re.fullmatch(r"virtio\d+", part) for part in parts) else "unknown"

    def _ata(self, folder: Path, port: str, bus_type: str) -> tuple[str, int | None, int | None, int | None]:
        """AHCI has a port for each disk; an IDE controller two buses of two units each."""
        index = folder.parts.index(port)
        controller = Path(*folder.parts[:index])
        ports = sorted(int(match[1]) for each in controller.glob("ata*") if (match := _ATA.fullmatch(each.name)))
        number = ports.index(int(port[3:])) if int(port[3:]) in ports else None
        driver = os.path.basename(os.path.realpath(controller / "driver"))
        scsi = next((match for part in reversed(folder.parts) if (match := _SCSI.fullmatch(part))), None)
        if driver == "ahci" or bus_type == "sata":
            return "sata", 0, 0, number
        if driver in ("ata_piix", "pata_acpi", "ata_generic"):
            return "ide", number, 0, None if scsi is None else int(scsi[3])
        return "sata", 0, 0, number

    def _serial(self, folder: Path) -> str:
        """virtio and NVMe say it in files; SCSI in page 0x80 of its vital product data (SPC-4 7.8.15)."""
        for file in (folder / "serial", folder / "device" / "serial"):
            if told := _line(file):
                return told
        try:
            page = (folder / "device" / "vpd_pg80").read_bytes()
        except OSError:
            return ""
        if len(page) < 4 or page[1] != 0x80:
            return ""
        return page[4 : 4 + int.from_bytes(page[2:4], "big")].decode("ascii", "replace").strip(" \0")


def _pci(match: re.Match[str]) -> PciAddress:
    domain, bus, slot, function = (int(each, 16) for each in match.groups())
    return PciAddress(domain=domain, bus=bus, slot=slot, function=function)


def _kind(folder: Path) -> str:
    if (folder / "partition").exists():
        return "partition"
    if folder.name.startswith("dm-"):
        uuid = _line(folder / "dm" / "uuid")
        return next((kind for start, kind in _MAPPED.items() if uuid.startswith(start)), "mapper")
    for start in _KINDS:
        if folder.name.startswith(start):
            return _NAMES.get(start, start)
    return "disk"


def _name(name: str) -> str:
    """sysfs writes "!" for the "/" of names such as cciss/c0d0."""
    return "/dev/" + name.replace("!", "/")


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _line(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip(" \n\0")[:256]
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    text = _line(file)
    return int(text) if text.isdecimal() else None
