"""Checks of what the agent may do: its user, its capabilities, what confines it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from virtagent.guest.doctor import Check, Result, fail, ok, warn
from virtagent.guest.resources import Resources

__all__ = ["CHECKS", "missing_capabilities"]

CAPABILITIES: Mapping[str, tuple[int, str]] = {
    "CAP_CHOWN": (0, "owners of files"),
    "CAP_DAC_OVERRIDE": (1, "files of other users"),
    "CAP_FOWNER": (3, "modes of others' files"),
    "CAP_KILL": (5, "signals to others' processes"),
    "CAP_SETGID": (6, "running as another group"),
    "CAP_SETUID": (7, "running as another user"),
    "CAP_NET_ADMIN": (12, "configuring the network"),
    "CAP_SYS_ADMIN": (21, "freezing, mounting, the host name"),
    "CAP_SYS_BOOT": (22, "rebooting without systemd"),
    "CAP_SYS_TIME": (25, "setting the clock"),
    "CAP_SYSLOG": (34, "the kernel log"),
}
"""The bit of each (capabilities(7)), and what the agent needs it for."""


def missing_capabilities(status: str) -> list[str]:
    """The capabilities that a process lacks.

    Args:
        status: its /proc/PID/status.
    """
    effective = int(next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1], 16)
    return [name for name, (bit, _) in CAPABILITIES.items() if not effective >> bit & 1]


def capabilities(resources: Resources) -> Result:
    """Whether the kernel lets the agent do what it is for."""
    with open("/proc/self/status", encoding="utf-8") as file:
        missing = missing_capabilities(file.read())
    user = f"runs as uid {os.geteuid()}"
    if not missing:
        return ok(f"{user}, with all that the agent may need")
    told = "; ".join(f"{name} ({CAPABILITIES[name][1]})" for name in missing)
    return warn(f"{user}, without {told}", "run it as root, or add these to CapabilityBoundingSet= of its unit")


def confinement(resources: Resources) -> Result:
    """Whether SELinux or AppArmor may keep the agent from things that root may do."""
    try:
        with open("/proc/self/attr/current", encoding="utf-8", errors="replace") as file:
            label = file.read().strip("\0\n ")
    except OSError:
        return ok("neither SELinux nor AppArmor is in use")
    enforcing = _line("/sys/fs/selinux/enforce") == "1"
    if enforcing and "unconfined" not in label:
        return warn(
            f"SELinux is enforcing, and the agent runs as {label}", "ausearch -m avc -c virtagentd tells denials"
        )
    if not enforcing and label.endswith("(enforce)"):
        return warn(f"AppArmor confines the agent by the profile {label}", "aa-status, and dmesg for apparmor=DENIED")
    return ok(f"the agent is not confined ({label or 'no label'})")


def filesystems(resources: Resources) -> Result:
    """Whether the unit's hardening keeps the agent from writing where hosts will ask it to."""
    closed = [path for path in ("/etc", "/home", "/root", "/tmp", "/usr", "/var") if _read_only(path)]  # noqa: S108
    if closed:
        return warn(
            f"read-only for the agent: {', '.join(closed)}", "ReadWritePaths= in its unit, or mount -o remount,rw"
        )
    return ok("/etc, /home, /usr and /var can be written to")


def _read_only(path: str) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def freezing(resources: Resources) -> Result:
    """Whether filesystems can be frozen for a snapshot."""
    from virtagent.guest.mounts import read_mounts  # noqa: PLC0415

    if resources.frozen:
        return warn("filesystems are frozen at the moment", "virtagent thaw, or wait for the end of the lease")
    disks = sorted({each.mountpoint for each in read_mounts() if each.has_disk})
    with open("/proc/self/status", encoding="utf-8") as file:
        lacking = "CAP_SYS_ADMIN" in missing_capabilities(file.read())
    if lacking:
        return warn("the agent may not freeze filesystems: it lacks CAP_SYS_ADMIN", "run it as root")
    if not disks:
        return warn("no filesystem here has a disk of its own, so there is nothing to freeze", "")
    return ok(f"FIFREEZE may be used; {len(disks)} mountpoints have a disk: {', '.join(disks[:8])}")


def terminals(resources: Resources) -> Result:
    """Whether there are pseudo-terminals, for shells."""
    try:
        for descriptor in os.openpty():
            os.close(descriptor)
    except OSError as error:
        return fail(f"no pseudo-terminal: {error.strerror}", "mount -t devpts devpts /dev/pts; see kernel.pty.max")
    return ok("pseudo-terminals can be opened")


def kernel_log(resources: Resources) -> Result:
    """Whether the kernel log can be read."""
    try:
        os.close(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except FileNotFoundError:
        return warn("there is no /dev/kmsg; syslog(2) is used, which cannot follow as well", "mknod /dev/kmsg c 1 11")
    except OSError as error:
        restricted = _line("/proc/sys/kernel/dmesg_restrict") == "1"
        why = f"{error.strerror}{', and kernel.dmesg_restrict is 1' if restricted else ''}"
        return warn(f"/dev/kmsg cannot be read: {why}", "run the agent as root, or with CAP_SYSLOG")
    return ok("/dev/kmsg can be read")


def inotify(resources: Resources) -> Result:
    """Whether files can be watched."""
    from virtagent_transports.inotify import DirectoryWatch  # noqa: PLC0415

    folder = "/proc/sys/fs/inotify"
    watches, instances = _line(f"{folder}/max_user_watches"), _line(f"{folder}/max_user_instances")
    try:
        with DirectoryWatch():
            pass
    except OSError as error:
        return fail(f"no inotify: {error.strerror}", "sysctl fs.inotify.max_user_instances=1024")
    if watches.isdigit() and int(watches) < 8192:
        return warn(f"only {watches} files can be watched", "sysctl fs.inotify.max_user_watches=65536")
    return ok(f"{watches} watches and {instances} instances for each user")


def _line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""


CHECKS = (
    Check("capabilities", capabilities),
    Check("confinement", confinement),
    Check("filesystems", filesystems),
    Check("freezing", freezing),
    Check("terminals", terminals),
    Check("kernel-log", kernel_log),
    Check("inotify", inotify),
)
