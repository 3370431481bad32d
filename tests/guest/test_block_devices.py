"""Block devices and how they are attached, in trees of sysfs as real machines have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from virtagent.api.storage import PciAddress
from virtagent.guest.block_devices import BlockDevices
from virtagent.guest.storage import StorageService


class Sysfs:
    """Makes a tree of sysfs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for each in ("block", "class/block", "dev/block"):
            (root / each).mkdir(parents=True)

    def device(self, below: str, name: str, number: str, *, size: int = 2048, **files: str) -> Path:
        """A block device below ``devices/``; a partition if it has a number."""
        folder = self.root / "devices" / below / name
        (folder / "queue").mkdir(parents=True, exist_ok=True)
        told = {"dev": number, "size": str(size), "ro": "0", "removable": "0", **files}
        for file, text in told.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text + "\n")
        (self.root / "class/block" / name).symlink_to(folder)
        (self.root / "dev/block" / number).symlink_to(folder)
        if "partition" not in files:
            (self.root / "block" / name).symlink_to(folder)
        return folder


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs(tmp_path)


def test_a_virtio_disk_and_its_partition(sysfs: Sysfs) -> None:
    below = "pci0000:00/0000:00:05.0/virtio2/block"
    disk = sysfs.device(below, "vda", "254:0", size=4096, **{"serial": "root-disk", "queue/rotational": "1"})
    (disk / "device").symlink_to(sysfs.root / "devices/pci0000:00/0000:00:05.0/virtio2")
    (disk / "queue/discard_max_bytes").write_text("2147450880\n")
    (disk / "queue/logical_block_size").write_text("512\n")
    sysfs.device(f"{below}/vda", "vda1", "254:1", size=2048, partition="1")
    devices = BlockDevices(sysfs.root)
    whole, part = devices.disks({"254:1": ["/", "/srv"]}, frozenset({"/dev/vda"}))
    assert (whole.name, whole.kind, whole.size, whole.discard, whole.rotational) == (
        "/dev/vda",
        "disk",
        4096 * 512,
        True,
        True,
    )
    assert whole.swap
    assert whole.address is not None
    assert whole.address.bus_type == "virtio"
    assert whole.address.pci == PciAddress(domain=0, bus=0, slot=5, function=0)
    assert whole.address.serial == "root-disk"
    assert (part.name, part.kind, part.parents, part.mountpoints) == (
        "/dev/vda1",
        "partition",
        ["/dev/vda"],
        ["/", "/srv"],
    )
    assert part.address is None
    assert [each.device for each in devices.addresses_of("254:1")] == ["/dev/vda"]


def test_a_scsi_disk_has_channel_target_and_lun(sysfs: Sysfs) -> None:
    chain = "pci0000:00/0000:00:1e.0/0000:01:02.3/virtio1/host2/target2:0:3/2:0:3:7"
    disk = sysfs.device(f"{chain}/block", "sdb", "8:16")
    device = sysfs.root / "devices" / chain
    (disk / "device").symlink_to(device)
    (device / "model").write_text("QEMU HARDDISK   \n")
    (device / "vendor").write_text("QEMU    \n")
    (device / "wwid").write_text("naa.5000c50015ea71aa\n")
    (device / "vpd_pg80").write_bytes(b"\x00\x80\x00\x08  drive1")
    (found,) = BlockDevices(sysfs.root).disks()
    assert (found.model, found.vendor) == ("QEMU HARDDISK", "QEMU")
    address = found.address
    assert address is not None
    assert (address.bus_type, address.bus, address.target, address.unit) == ("scsi", 0, 3, 7)
    assert address.pci == PciAddress(domain=0, bus=1, slot=2, function=3)  # the controller, not the bridge
    assert (address.serial, address.wwn) == ("drive1", "naa.5000c50015ea71aa")


def test_sata_counts_ports_and_ide_buses_and_units(sysfs: Sysfs) -> None:
    ahci, ide = "pci0000:00/0000:00:1f.2", "pci0000:00/0000:00:01.1"
    for controller, driver, ports in ((ahci, "ahci", (3, 4, 5)), (ide, "ata_piix", (1, 2))):
        folder = sysfs.root / "devices" / controller
        for port in ports:
            (folder / f"ata{port}").mkdir(parents=True)
        (sysfs.root / "drivers" / driver).mkdir(parents=True)
        (folder / "driver").symlink_to(sysfs.root / "drivers" / driver)
    for below, name, number in (
        (f"{ahci}/ata5/host4/target4:0:0/4:0:0:0", "sda", "8:0"),
        (f"{ide}/ata2/host1/target1:0:1/1:0:1:0", "sdb", "8:16"),
    ):
        disk = sysfs.device(f"{below}/block", name, number)
        (disk / "device").symlink_to(sysfs.root / "devices" / below)
    sata, pata = (each.address for each in BlockDevices(sysfs.root).disks())
    assert sata is not None
    assert pata is not None
    assert (sata.bus_type, sata.bus, sata.target, sata.unit) == ("sata", 0, 0, 2)
    assert (pata.bus_type, pata.bus, pata.target, pata.unit) == ("ide", 1, 0, 1)


@pytest.mark.parametrize(
    ("below", "name", "bus_type"),
    [
        ("pci0000:00/0000:00:04.0/nvme/nvme0", "nvme0n1", "nvme"),
        ("pci0000:00/0000:00:04.0/usb1/1-1/1-1:1.0/host3/target3:0:0/3:0:0:0/block", "sdc", "usb"),
        ("platform/3f300000.mmc/mmc_host/mmc0/mmc0:1234/block", "mmcblk0", "mmc"),
        ("vbd-51712/block", "xvda", "xen"),
        ("css0/0.0.0001/0.0.1234/virtio3/block", "vdb", "virtio"),
    ],
)
def test_other_buses_are_known_by_name(below: str, name: str, bus_type: str, sysfs: Sysfs) -> None:
    disk = sysfs.device(below, name, "259:0")
    (disk / "device").symlink_to(sysfs.root / "devices" / below)
    (found,) = BlockDevices(sysfs.root).disks()
    assert found.address is not None
    assert found.address.bus_type == bus_type
    assert found.address.ccw == ("0.0.1234" if "css0" in below else "")


def test_a_volume_is_on_all_disks_below_it(sysfs: Sysfs) -> None:
    for letter, number in (("a", "254:0"), ("b", "254:16")):
        below = f"pci0000:00/0000:00:0{3 if letter == 'a' else 4}.0/virtio0/block"
        disk = sysfs.device(below, f"vd{letter}", number)
        (disk / "device").symlink_to(sysfs.root / "devices" / below.removesuffix("/block"))
    part = sysfs.device("pci0000:00/0000:00:03.0/virtio0/block/vda", "vda2", "254:2", partition="2")
    raid = sysfs.device("virtual/block", "md0", "9:0")
    crypt = sysfs.device(
        "virtual/block", "dm-0", "253:0", size=8, **{"dm/name": "cryptroot", "dm/uuid": "CRYPT-LUKS2-x"}
    )
    volume = sysfs.device("virtual/block", "dm-1", "253:1", size=8, **{"dm/name": "vg0-root", "dm/uuid": "LVM-abc"})
    for upper, lower in ((raid, part), (raid, sysfs.root / "block/vdb"), (crypt, raid), (volume, crypt)):
        (upper / "slaves").mkdir(exist_ok=True)
        (upper / "slaves" / lower.name).symlink_to(lower)
    devices = BlockDevices(sysfs.root)
    assert [each.device for each in devices.addresses_of("253:1")] == ["/dev/vda", "/dev/vdb"]
    kinds = {each.name: (each.kind, each.alias, each.parents) for each in devices.disks()}
    assert kinds["/dev/dm-1"] == ("lvm", "vg0-root", ["/dev/dm-0"])
    assert kinds["/dev/dm-0"] == ("crypt", "cryptroot", ["/dev/md0"])
    assert kinds["/dev/md0"] == ("raid", "", ["/dev/vda2", "/dev/vdb"])


def test_devices_that_lie_upon_themselves_end_the_search(sysfs: Sysfs) -> None:
    one = sysfs.device("virtual/block", "dm-0", "253:0")
    (one / "slaves").mkdir()
    (one / "slaves" / "dm-0").symlink_to(one)
    assert BlockDevices(sysfs.root).addresses_of("253:0") == []


@pytest.mark.parametrize("device", ["254:77", "../../etc", "/dev/../etc/passwd", "", "/dev/nothing"])
def test_what_is_no_device_has_no_address(device: str, sysfs: Sysfs) -> None:
    assert BlockDevices(sysfs.root).addresses_of(device) == []


def test_unused_loop_devices_are_left_out_and_names_are_in_their_natural_order(sysfs: Sysfs) -> None:
    sysfs.device("virtual/block", "loop0", "7:0", size=0)
    sysfs.device("virtual/block", "loop1", "7:1", size=8)
    for number, name in enumerate(("vdb", "vda", "sr0", "nvme10n1", "nvme2n1", "cciss!c0d0")):
        sysfs.device("virtual/block", name, f"200:{number}")
    found = BlockDevices(sysfs.root).disks()
    assert [each.name for each in found] == [
        "/dev/cciss/c0d0",
        "/dev/loop1",
        "/dev/nvme2n1",
        "/dev/nvme10n1",
        "/dev/sr0",
        "/dev/vda",
        "/dev/vdb",
    ]
    assert {each.kind for each in found if each.name in ("/dev/sr0", "/dev/loop1")} == {"rom", "loop"}


async def test_the_disks_of_this_machine_are_those_of_its_sysfs() -> None:
    found = {each.name for each in await StorageService().disks()}
    real = {f"/dev/{each}" for each in os.listdir("/sys/block") if not each.startswith(("loop", "zram", "ram", "nbd"))}
    assert real <= found | {f"/dev/{each}" for each in os.listdir("/sys/block") if "!" in each}


async def test_the_counters_of_this_machine_only_grow() -> None:
    before = {each.name: each for each in await StorageService().counters()}
    after = {each.name: each for each in await StorageService().counters()}
    assert before.keys() <= after.keys()
    assert all(after[name].reads >= each.reads for name, each in before.items())
    assert all(each.read_bytes % 512 == 0 for each in after.values())
