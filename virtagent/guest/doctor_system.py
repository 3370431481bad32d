"""Checks of what the guest's system offers: journal, D-Bus, systemd, clock, pressure, suspend."""

from __future__ import annotations

import os
import shutil
import socket
import time

from virtagent.guest import facts
from virtagent.guest.doctor import Check, Result, fail, ok, warn
from virtagent.guest.resources import Resources

__all__ = ["CHECKS"]

SYSTEM_BUS = "/run/dbus/system_bus_socket"
DBUS_PATIENCE = 2.0

OLDEST_YEAR = 2024
"""A clock before this was never set."""

ENOUGH_MEMORY = 32 * 1024 * 1024


def journal(resources: Resources) -> Result:
    """Whether there is a journal that the agent can read."""
    folders = [each for each in ("/var/log/journal", "/run/log/journal") if os.path.isdir(each)]
    if not folders:
        return warn("there is no systemd journal", "use log files; or run systemd-journald")
    if not any(os.access(each, os.R_OK | os.X_OK) for each in folders):
        return warn(f"the agent may not read {folders[0]}", "run it as root, or in the group systemd-journal")
    if shutil.which("journalctl") is None:
        return warn("there is a journal, but no journalctl", "install systemd's tools")
    kept = (
        "kept across boots" if "/var/log/journal" in folders else "of this boot only (mkdir /var/log/journal keeps it)"
    )
    return ok(f"can be read; {kept}")


def dbus(resources: Resources) -> Result:
    """Whether the system bus answers."""
    if not os.path.exists(SYSTEM_BUS):
        return warn("there is no system bus", "install and start dbus, for units, log-ins and suspend")
    with socket.socket(socket.AF_UNIX) as bus:
        bus.settimeout(DBUS_PATIENCE)
        try:
            bus.connect(SYSTEM_BUS)
            # The bus tells the ways of authentication to whoever offers none (D-Bus specification, "AUTH").
            bus.sendall(b"\0AUTH\r\n")
            answer = bus.recv(256)
        except TimeoutError:
            return fail(
                "the system bus does not answer", "systemctl restart dbus (it is restarted at the next boot, too)"
            )
        except OSError as error:
            return fail(f"the system bus cannot be reached: {error.strerror}", "systemctl start dbus")
    if not answer.startswith(b"REJECTED"):
        return warn("the system bus says something unknown", "see journalctl -u dbus")
    return ok("the system bus answers")


def systemd(resources: Resources) -> Result:
    """Whether systemd runs this machine."""
    if not os.path.isdir("/run/systemd/system"):
        return warn("systemd does not run this machine: no units, and power goes by the tools of its init", "")
    return ok("systemd runs this machine")


def logind(resources: Resources) -> Result:
    """Whether log-ins and suspend are told."""
    if not (os.path.isdir("/run/systemd/seats") and os.path.isdir("/run/systemd/system")):
        return warn("there is no logind: log-ins are read from utmp, suspend is not told in advance", "")
    return ok("logind is there")


def clock(resources: Resources) -> Result:
    """Whether the clock is right, as far as the guest can tell."""
    now = facts.now()
    if now.year < OLDEST_YEAR:
        return fail(f"the clock says {now:%F %T} UTC", "virtagent time set sets it from the host's")
    from virtagent.guest.kernel_time import is_synchronized  # noqa: PLC0415

    if not os.path.exists("/dev/rtc0") and not os.path.exists("/dev/ptp0"):
        hardware = "; there is no hardware clock"
    else:
        hardware = ""
    if not is_synchronized():
        remedy = "run chrony or systemd-timesyncd, or set it from the host (virtagent time)"
        return warn(f"nobody keeps the clock right{hardware}", remedy)
    return ok(f"is kept right{hardware}")


def pressure(resources: Resources) -> Result:
    """Whether the kernel tells of pressure (PSI)."""
    try:
        with open("/proc/pressure/memory", encoding="ascii") as file:
            file.read()
    except OSError:
        return warn("the kernel does not tell of pressure", "boot it with psi=1")
    return ok("/proc/pressure can be read")


def memory(resources: Resources) -> Result:
    """Whether there is memory for what hosts ask of the agent."""
    available = facts.memory("MemAvailable")
    if available is None:
        return warn("/proc/meminfo cannot be read", "mount -t proc proc /proc")
    told = f"{available // 2**20} MiB available"
    return ok(told) if available > ENOUGH_MEMORY else warn(told, "give the machine more, or end something")


def suspend(resources: Resources) -> Result:
    """Whether the machine can be suspended."""
    try:
        with open("/sys/power/state", encoding="ascii") as file:
            states = file.read().split()
    except OSError:
        states = []
    if not states:
        return warn("this kernel can neither suspend nor hibernate", "give the machine S3/S4 (libvirt: <pm>)")
    return ok(f"the kernel can: {', '.join(states)}")


def boot(resources: Resources) -> Result:
    """Whether the kernel that runs is one whose modules are still there."""
    release = os.uname().release
    folder = f"/lib/modules/{release}"
    kind = facts.virtualization() or "unknown"
    up = time.clock_gettime(time.CLOCK_BOOTTIME)
    if not os.path.isdir(folder) and os.path.exists("/proc/modules"):
        remedy = "reboot into the new kernel, if it was updated; else it needs none"
        return warn(f"there are no modules of the running kernel {release}", remedy)
    return ok(f"kernel {release}, virtualization {kind}, up {up / 3600:.1f} h")


CHECKS = (
    Check("kernel", boot),
    Check("journal", journal),
    Check("dbus", dbus),
    Check("systemd", systemd),
    Check("logind", logind),
    Check("clock", clock),
    Check("memory", memory),
    Check("pressure", pressure),
    Check("suspend", suspend),
)
