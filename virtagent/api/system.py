"""The guest as a system."""

from __future__ import annotations

from datetime import datetime

import msgspec

from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = ["Kernel", "OperatingSystem", "System", "SystemInfo"]


class Kernel(msgspec.Struct, frozen=True, kw_only=True):
    """What uname(2) tells.

    Attributes:
        release: such as "6.1.0-18-amd64".
        version: such as "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)".
        machine: the architecture, such as "x86_64".
    """

    release: str
    version: str
    machine: str
    name: str = "Linux"


class OperatingSystem(msgspec.Struct, frozen=True, kw_only=True):
    """What os-release(5) tells, with its defaults.

    Attributes:
        id: such as "debian".
        version_id: such as "12".
        pretty_name: such as "Debian GNU/Linux 12 (bookworm)".
    """

    id: str = "linux"
    name: str = "Linux"
    version: str = ""
    version_id: str = ""
    pretty_name: str = "Linux"


class SystemInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about the guest. None and "" mean that the guest cannot tell.

    Attributes:
        machine_id: stable for the installation (machine-id(5)).
        boot_id: stable for the boot.
        time: the guest's clock.
        uptime: seconds since boot.
        cpus: processors that are online.
        memory: bytes of memory that the kernel manages.
        virtualization: such as "kvm", "qemu", "none".
        python: the version of the agent's Python.
        agent: the agent's version.
        booted: when the guest booted, by its own clock.
    """

    hostname: str
    kernel: Kernel
    os: OperatingSystem
    time: datetime
    uptime: float
    machine_id: str = ""
    boot_id: str = ""
    cpus: int | None = None
    memory: int | None = None
    virtualization: str = ""
    python: str = ""
    agent: str = ""
    booted: datetime | None = None


class System(Service, name="system", interface=True):
    """The guest as a system."""

    @method(idempotent=True, role="observe", since="0.1.0")
    async def info(self) -> SystemInfo:
        """What the guest is, and since when it runs."""
        raise NotImplementedError
