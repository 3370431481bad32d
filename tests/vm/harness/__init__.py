"""Boots small real guests under QEMU for tests and demos: no root, no KVM, nothing installed on the host.

async with Machine(build_image(wheel), ports=("org.virtagent.0",), agent="virtagentd ...") as machine:
    await machine.booted()
    url = f"unix:{machine.socket('org.virtagent.0')}"
"""

from .debian import build_debian
from .errors import GuestError, HarnessError, MachineDied, MachineTimeout
from .guest.blob import blob_digest
from .image import Image, build_image
from .kernel import missing_packages
from .machine import Machine, Snapshot
from .snapshots import Snapshots
from .wheel import build_bundle, build_wheel

__all__ = [
    "GuestError",
    "HarnessError",
    "Image",
    "Machine",
    "MachineDied",
    "MachineTimeout",
    "Snapshot",
    "Snapshots",
    "blob_digest",
    "build_bundle",
    "build_debian",
    "build_image",
    "build_wheel",
    "missing_packages",
]
