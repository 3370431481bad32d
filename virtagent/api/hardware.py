"""The guest's hardware: processors and memory blocks, which may be switched on and off, and PCI devices.

Disks are told of by ``storage.disks``.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from virtagent.errors import PermissionDenied, Unavailable
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = [
    "Hardware",
    "MemoryBlock",
    "MemoryBlocks",
    "MemorySwitches",
    "PciDevice",
    "Switch",
    "Switched",
    "Vcpu",
    "VcpuSwitches",
]


class Vcpu(msgspec.Struct, frozen=True, kw_only=True):
    """A processor that is present (Documentation/admin-guide/cputopology.rst).

    Attributes:
        number: the kernel's.
        can_offline: it may be switched off; False: the machine boots from it, or its hardware does not know how to.
        socket, core, node: where it is; None: offline, or cannot be told.
    """

    number: int
    online: bool
    can_offline: bool
    socket: int | None = None
    core: int | None = None
    node: int | None = None


class MemoryBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A block of memory (Documentation/admin-guide/mm/memory-hotplug.rst).

    Attributes:
        number: the kernel's; times the size of a block it is the physical address.
        can_offline: the kernel believes that it could be switched off; trying may still fail.
        node: None: cannot be told.
        zones: what it belongs to, or may be switched on to, such as ["Normal"], ["Movable"].
    """

    number: int
    online: bool
    can_offline: bool
    node: int | None = None
    zones: list[str] = []


class MemoryBlocks(msgspec.Struct, frozen=True, kw_only=True):
    """All blocks.

    Attributes:
        size: bytes of each.
    """

    size: int
    blocks: list[MemoryBlock]


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be switched on or off."""

    number: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    online: bool


class Switched(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one of them.

    Attributes:
        result: "done"; "unchanged": it was so already; "not-found"; "not-supported": it can never be;
            "failed": not now.
        error: why, in words.
        errno: the kernel's error, such as "EBUSY"; "": none.
    """

    number: int
    result: Literal["done", "unchanged", "not-found", "not-supported", "failed"]
    error: str = ""
    errno: str = ""


VcpuSwitches = Annotated[list[Switch], msgspec.Meta(min_length=1, max_length=1024)]

MemorySwitches = Annotated[list[Switch], msgspec.Meta(min_length=1, max_length=1024)]


class PciDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A PCI device. Names are those of pci.ids, if the guest has that file.

    Attributes:
        address: such as "0000:00:1f.2".
        vendor, device, subsystem_vendor, subsystem_device: numbers, as four hexadecimal digits.
        vendor_name, device_name: "": not known.
        class_code: six hexadecimal digits: class, subclass, programming interface.
        class_name: such as "Ethernet controller".
        driver: the one that serves it; "": none.
        node: of NUMA; None: none.
    """

    address: str
    vendor: str
    device: str
    class_code: str
    subsystem_vendor: str = ""
    subsystem_device: str = ""
    revision: str = ""
    vendor_name: str = ""
    device_name: str = ""
    class_name: str = ""
    driver: str = ""
    node: int | None = None


class Hardware(Service, name="hardware", interface=True):
    """The guest's hardware."""

    @method(idempotent=True, role="observe", since="0.1.0")
    async def vcpus(self) -> list[Vcpu]:
        """The processors that are present, by number."""
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=(PermissionDenied,))
    async def set_vcpus(self, switches: VcpuSwitches) -> list[Switched]:
        """Switch processors on and off, one after the other; a failure does not keep the others from being tried.

        Args:
            switches: at most 1024.

        Raises:
            PermissionDenied: the agent may not.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0", errors=(Unavailable,))
    async def memory_blocks(self) -> MemoryBlocks:
        """The blocks of memory, by number, and their size.

        Raises:
            Unavailable: the guest's kernel has none that could be switched.
        """
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=(PermissionDenied, Unavailable))
    async def set_memory_blocks(self, switches: MemorySwitches) -> list[Switched]:
        """Switch blocks of memory on and off, one after the other; a failure does not keep the others from being tried.

        A block that the kernel cannot empty within 10 seconds, or for which no time is left after 45 seconds in all,
        has failed.

        Args:
            switches: at most 1024.

        Raises:
            PermissionDenied: the agent may not.
            Unavailable: the guest's kernel has none that could be switched.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def pci(self) -> list[PciDevice]:
        """The PCI devices, by address."""
        raise NotImplementedError
