"""Processors, memory blocks and PCI devices: this machine's are read, a copied tree's are switched."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.service.wire import Wire
from virtagent.api.hardware import Switch
from virtagent.errors import InvalidArgument, PermissionDenied, Unavailable
from virtagent.guest.hardware import HardwareService
from virtagent.guest.pci_devices import PciNames, pci_devices
from virtagent.guest.switchable import IN_ALL, set_memory_blocks
from virtagent.guest.sysfs_write import write_within
from virtagent.testing import FakeClock

SYS = Path("/sys")


def copy_files(source: Path, target: Path, *names: str) -> None:
    """Copy files of sysfs: it says that they have 4096 bytes, which they do not."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((source / name).read_bytes())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """This machine's processors, and memory of four blocks of which one is off and one may not be switched off."""
    cpus = "devices/system/cpu"
    for folder in (SYS / cpus).glob("cpu[0-9]*"):
        target = tmp_path / cpus / folder.name
        copy_files(folder, target, "online", "topology/physical_package_id", "topology/core_id")
        for node in folder.glob("node[0-9]*"):
            (target / node.name).mkdir()
    (tmp_path / cpus / "cpu77").mkdir()
    (tmp_path / cpus / "cpu77" / "online").write_text("0\n")
    (tmp_path / cpus / "cpu78").mkdir()
    memory = tmp_path / "devices/system/memory"
    memory.mkdir(parents=True)
    (memory / "block_size_bytes").write_text("8000000\n")
    for number, state, removable in ((0, "online", 0), (1, "online", 1), (2, "offline", 1), (10, "online", 1)):
        block = memory / f"memory{number}"
        block.mkdir()
        (block / "state").write_text(f"{state}\n")
        (block / "removable").write_text(f"{removable}\n")
        (block / "valid_zones").write_text("Normal Movable\n" if state == "offline" else "none\n")
        (block / "node0").mkdir()
    return tmp_path


# -- processors --------------------------------------------------------------------------------------------------------


async def test_this_machines_processors_are_those_that_the_kernel_counts() -> None:
    found = await HardwareService().vcpus()
    assert sum(each.online for each in found) == os.cpu_count()
    assert [each.number for each in found] == sorted(each.number for each in found)


async def test_processors_are_told_as_sysfs_has_them(tree: Path) -> None:
    found = {each.number: each for each in await HardwareService(sys=tree).vcpus()}
    assert (found[77].online, found[77].can_offline, found[77].socket) == (False, True, None)
    assert (found[78].online, found[78].can_offline) == (True, False)
    here = {each.number: each for each in await HardwareService().vcpus()}
    assert found[0] == here[0]


async def test_each_processor_has_its_own_answer(tree: Path) -> None:
    service = HardwareService(sys=tree)
    switches = [
        Switch(number=77, online=True),
        Switch(number=78, online=False),
        Switch(number=78, online=True),
        Switch(number=999, online=True),
    ]
    told = await service.set_vcpus(switches)
    assert [(each.number, each.result) for each in told] == [
        (77, "done"),
        (78, "not-supported"),
        (78, "unchanged"),
        (999, "not-found"),
    ]
    assert (tree / "devices/system/cpu/cpu77/online").read_text().strip("\n") == "1"
    assert "cannot be switched off" in told[1].error


async def test_a_read_only_sysfs_is_a_missing_permission(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("virtagent.guest.switchable._write", refuse)
    with pytest.raises(PermissionDenied, match="writable /sys"):
        await HardwareService(sys=tree).set_vcpus([Switch(number=77, online=True)])


# -- memory ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (SYS / "devices/system/memory").exists(), reason="needs CONFIG_MEMORY_HOTPLUG")
async def test_this_machines_memory_blocks_are_told() -> None:
    told = await HardwareService().memory_blocks()
    assert told.size == int((SYS / "devices/system/memory/block_size_bytes").read_text(), 16)
    assert len(told.blocks) == len(list((SYS / "devices/system/memory").glob("memory[0-9]*")))
    assert told.blocks[0].online


async def test_memory_blocks_are_told_as_sysfs_has_them(tree: Path) -> None:
    told = await HardwareService(sys=tree).memory_blocks()
    assert told.size == 128 * 1024 * 1024
    assert [(each.number, each.online, each.can_offline) for each in told.blocks] == [
        (0, True, False),
        (1, True, True),
        (2, False, True),
        (10, True, True),
    ]
    assert (told.blocks[2].zones, told.blocks[2].node, told.blocks[0].zones) == (["Normal", "Movable"], 0, [])


async def test_each_memory_block_has_its_own_answer(tree: Path) -> None:
    told = await HardwareService(sys=tree).set_memory_blocks(
        [Switch(number=number, online=online) for number, online in ((1, False), (2, False), (3, True), (2, True))]
    )
    assert [each.result for each in told] == ["done", "unchanged", "not-found", "done"]
    assert (tree / "devices/system/memory/memory1/state").read_text().startswith("offline")
    assert (tree / "devices/system/memory/memory2/state").read_text().startswith("online")


def test_a_block_that_cannot_be_emptied_has_failed_and_the_others_are_tried(tree: Path) -> None:
    clock = FakeClock()
    asked: list[str] = []

    def write(path: str, text: str, seconds: float) -> None:
        asked.append(path)
        clock.advance(seconds)
        raise OSError(errno.ETIMEDOUT, "Connection timed out") if len(asked) == 1 else OSError(errno.EBUSY, "busy")

    switches = [Switch(number=number, online=False) for number in (0, 1, 10)] * 3
    told = set_memory_blocks(tree, switches, write=write, clock=clock)
    assert [each.errno for each in told[:2]] == ["ETIMEDOUT", "EBUSY"]
    assert {each.result for each in told} == {"failed"}
    assert "no time was left" in told[-1].error
    assert clock.now <= FakeClock().now + IN_ALL


async def test_a_kernel_without_memory_blocks_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="CONFIG_MEMORY_HOTPLUG"):
        await HardwareService(sys=tmp_path).memory_blocks()
    with pytest.raises(Unavailable):
        await HardwareService(sys=tmp_path).set_memory_blocks([Switch(number=1, online=True)])


def test_a_write_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "nobody-reads")
    with pytest.raises(OSError, match="timed out") as caught:
        write_within(str(tmp_path / "nobody-reads"), "offline", 0.3)
    assert caught.value.errno == errno.ETIMEDOUT


def test_the_childs_error_is_the_kernels(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    write_within(str(tmp_path / "file"), "online", 30)
    assert (tmp_path / "file").read_text() == "online"
    with pytest.raises(FileNotFoundError):
        write_within(str(tmp_path / "nope"), "online", 30)
    with pytest.raises(OSError, match="No space left") as caught:
        write_within("/dev/full", "online", 30)
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("switches", [[], [{"number": -1, "online": True}], [{"number": 1, "online": True}] * 1025])
async def test_arguments_are_bounded(switches: list[Any]) -> None:
    for name in ("set_vcpus", "set_memory_blocks"):
        with pytest.raises(InvalidArgument, match="argument"):
            await Wire(HardwareService(sys=Path("/nope"))).request(f"hardware.{name}", {"switches": switches})


# -- PCI ---------------------------------------------------------------------------------------------------------------

IDS = """# a comment
1af4  Red Hat, Inc.
\t1000  Virtio network device
\t\t1af4 0001  a subsystem
\t1045  Virtio 1.0 memory balloon
8086  Intel Corporation
\t1237  440FX - 82441FX PMC [Natoma]
C 02  Network controller
\t00  Ethernet controller
C 06  Bridge
"""


@pytest.fixture
def bus(tmp_path: Path) -> Path:
    for address, fields in {
        "0000:00:03.0": {"vendor": "0x1af4", "device": "0x1000", "class": "0x020000", "numa_node": "-1"},
        "0000:00:00.0": {"vendor": "0x8086", "device": "0x1237", "class": "0x060000", "revision": "0x02"},
        "0000:01:00.0": {"vendor": "0xdead", "device": "0xbeef", "class": "0xff0000", "numa_node": "1"},
        "not-an-address": {},
    }.items():
        folder = tmp_path / "bus/pci/devices" / address
        folder.mkdir(parents=True)
        for name, text in fields.items():
            (folder / name).write_text(f"{text}\n")
    (tmp_path / "bus/pci/devices/0000:00:03.0/driver").symlink_to("../../../bus/pci/drivers/virtio-pci")
    (tmp_path / "pci.ids").write_text(IDS)
    return tmp_path


def test_pci_devices_have_numbers_and_names(bus: Path) -> None:
    bridge, network, other = pci_devices(bus, [bus / "nope", bus / "pci.ids"])
    assert (network.vendor_name, network.device_name) == ("Red Hat, Inc.", "Virtio network device")
    assert (network.class_name, network.driver, network.node) == ("Ethernet controller", "virtio-pci", None)
    assert (bridge.address, bridge.class_name, bridge.revision) == ("0000:00:00.0", "Bridge", "02")
    assert (other.vendor, other.device, other.vendor_name, other.node) == ("dead", "beef", "", 1)


def test_without_pci_ids_there_are_numbers_only(bus: Path) -> None:
    assert [each.vendor_name for each in pci_devices(bus, [])] == ["", "", ""]
    assert pci_devices(bus / "nope", []) == []


@pytest.mark.skipif(not (SYS / "bus/pci/devices").exists(), reason="needs a PCI bus")
async def test_this_machines_pci_devices_are_told() -> None:
    found = await HardwareService().pci()
    assert [each.address for each in found] == sorted(os.listdir(SYS / "bus/pci/devices"))
    assert all(len(each.vendor) == len(each.device) == 4 and len(each.class_code) == 6 for each in found)


@given(st.lists(st.text(max_size=20)))
def test_any_lines_are_some_names(lines: list[str]) -> None:
    PciNames().read(lines, {("1af4", "1000")})
