"""What /proc and its neighbours tell, each in one small function; what cannot be read is None or ""."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

from virtagent.peer.identity import BOOT_ID, MACHINE_ID, read_line

__all__ = [
    "boot_id",
    "boot_time",
    "load",
    "machine_id",
    "memory",
    "now",
    "os_release",
    "uptime",
    "virtualization",
]

OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
"""The second one counts where the first is missing (os-release(5))."""

_DMI = "/sys/class/dmi/id"
_VENDORS = {
    "QEMU": "qemu",
    "VMware, Inc.": "vmware",
    "innotek GmbH": "oracle",
    "Microsoft Corporation": "microsoft",
    "Xen": "xen",
    "Amazon EC2": "amazon",
    "Google": "google",
    "Apple Inc.": "apple",
}


def now() -> datetime:
    """The clock of this machine."""
    return datetime.now(UTC)


def boot_id() -> str:
    """Stable for one boot (random(4))."""
    return read_line(BOOT_ID)


def machine_id() -> str:
    """Stable for the installation (machine-id(5))."""
    return read_line(MACHINE_ID)


def uptime() -> float:
    """Seconds since boot, suspend included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_time() -> float:
    """The moment that kernel messages count from, as a Unix time: their clock stands still in suspend."""
    return time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)


def load() -> tuple[float, float, float] | None:
    """The load averages over 1, 5 and 15 minutes."""
    try:
        return os.getloadavg()
    except OSError:
        return None


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def memory(field: str) -> int | None:
    """Bytes, of a field of /proc/meminfo such as ``MemTotal``."""
    try:
        text = _read("/proc/meminfo")
    except OSError:
        return None
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return None


def os_release() -> dict[str, str]:
    """The fields of os-release(5)."""
    for path in OS_RELEASE:
        try:
            return parse_os_release(_read(path))
        except OSError:
            continue
    return {}


def parse_os_release(text: str) -> dict[str, str]:
    """Assignments as a shell reads them: quotes around the value, a backslash before what quotes mean."""
    fields = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if not equals or name.startswith("#"):
            continue
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            quote, value = value[0], value[1:-1]
            if quote == '"':
                for char in '"$`':
                    value = value.replace(f"\\{char}", char)
                value = value.replace("\\\\", "\\")
        fields[name] = value
    return fields


def virtualization() -> str:
    """Which hypervisor or container this runs in, in systemd-detect-virt's words; "" if that cannot be told."""
    container = read_line("/run/systemd/container")
    if container:
        return container
    if os.path.exists("/.dockerenv"):
        return "docker"
    xen = read_line("/sys/hypervisor/type")
    if xen:
        return xen
    clocks = read_line("/sys/devices/system/clocksource/clocksource0/available_clocksource").split()
    if "kvm-clock" in clocks:
        return "kvm"
    vendor = read_line(f"{_DMI}/sys_vendor")
    if vendor in _VENDORS and not (vendor == "Microsoft Corporation" and not _hypervisor_flag()):
        return _VENDORS[vendor]
    flag = _hypervisor_flag()
    return "" if flag is None or flag else "none"


def _hypervisor_flag() -> bool | None:
    """Whether the processor says that there is a hypervisor; None where processors do not say."""
    try:
        text = _read("/proc/cpuinfo")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("flags"):
            return "hypervisor" in line.split()
    return None
