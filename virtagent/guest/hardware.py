"""The service ``hardware``."""

from __future__ import annotations

import threading
from pathlib import Path

from virtagent.api.hardware import Hardware, MemoryBlocks, MemorySwitches, PciDevice, Switched, Vcpu, VcpuSwitches
from virtagent.guest.pci_devices import pci_devices
from virtagent.guest.resources import GuestService, Resources
from virtagent.guest.switchable import memory_blocks, set_memory_blocks, set_vcpus, vcpus
from virtagent.service.options import in_thread

__all__ = ["HardwareService"]


class HardwareService(GuestService, Hardware):
    """Answers from sysfs.

    Args:
        resources: what services share.
        sys: where sysfs is.
    """

    def __init__(self, resources: Resources | None = None, *, sys: Path = Path("/sys")) -> None:
        super().__init__(resources)
        self._sys = sys
        self._switching = threading.Lock()

    @in_thread
    def vcpus(self) -> list[Vcpu]:
        return vcpus(self._sys)

    @in_thread
    def set_vcpus(self, switches: VcpuSwitches) -> list[Switched]:
        with self._switching:
            return set_vcpus(self._sys, switches)

    @in_thread
    def memory_blocks(self) -> MemoryBlocks:
        return memory_blocks(self._sys)

    @in_thread
    def set_memory_blocks(self, switches: MemorySwitches) -> list[Switched]:
        with self._switching:
            return set_memory_blocks(self._sys, switches)

    @in_thread
    def pci(self) -> list[PciDevice]:
        return pci_devices(self._sys)
