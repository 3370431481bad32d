"""Every kind of event that the agent publishes, with its fields (docs/services/events.md shows this table)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["GAP", "KINDS", "SOURCE_FAILED", "SOURCE_STARTED", "SUBSCRIBED", "Kind"]

SUBSCRIBED = "events.subscribed"
GAP = "events.gap"
SOURCE_STARTED = "events.source_started"
SOURCE_FAILED = "events.source_failed"


class Kind(NamedTuple):
    """One kind of event.

    Attributes:
        source: what watches for it, and runs while somebody subscribes to it; "": nothing has to run.
        summary: what it tells.
        fields: what each field holds. A field that the guest cannot tell is left out.
    """

    source: str
    summary: str
    fields: Mapping[str, str]


_LINK = {
    "interface": "its name",
    "index": "the kernel's number of it",
    "up": "whether it is set up by the administrator",
    "state": "the operational state, such as `up`, `down`, `lowerlayerdown` (RFC 2863)",
    "carrier": "whether a cable is plugged in",
    "mac": "the hardware address",
    "mtu": "bytes of the largest packet",
}
_ADDRESS = {
    "interface": "its name",
    "index": "the kernel's number of it",
    "address": "the address",
    "prefix": "length of the prefix in bits",
    "family": "`ipv4` or `ipv6`",
}
_MOUNT = {
    "mountpoint": "where",
    "type": "the file system's type",
    "source": "the device, or whatever was mounted",
    "options": "the options of mount and file system, separated by commas",
    "root": "which directory of the file system is mounted",
    "device": "`major:minor`",
}
_DEVICE = {
    "path": "below /sys",
    "subsystem": "such as `block`, `net`, `usb`",
    "name": "the node below /dev, or the interface",
    "type": "such as `disk`, `partition`, `usb_device`",
    "driver": "the kernel's driver",
    "vendor": "the vendor's name or number",
    "model": "the model's name or number",
    "serial": "the serial number",
    "action": "the kernel's word for what happened",
}
_USER = {
    "user": "the user's name",
    "uid": "the user's number",
    "session": "logind's name of the session",
    "terminal": "such as `tty1`, `pts/0`, `:0`",
    "host": "where a remote user came from",
    "service": "the PAM service, such as `sshd`, `login`",
    "seat": "such as `seat0`",
    "pid": "the process that leads the session",
}
_PRESSURE = {
    "kind": "`some` (at least one task waited) or `full` (all did)",
    "stall": "the threshold that was crossed: seconds of waiting in a window",
    "window": "seconds of the window",
    "avg10": "percent of the last 10 seconds that were lost to waiting",
    "avg60": "percent of the last minute",
    "total": "seconds lost since boot",
}

KINDS: Mapping[str, Kind] = {
    SUBSCRIBED: Kind(
        "",
        "the first item of each subscription: from here on nothing is missed",
        {
            "run": "the agent's run; numbers start anew with it",
            "unavailable": "the sources that cannot work here: why, by name",
            "unmatched": "the patterns that match no kind that the agent knows",
        },
    ),
    GAP: Kind(
        "",
        "events between the one before and the one after were missed",
        {
            "missed": "how many; left out where that is not known",
            "at_least": "true: there may have been more",
            "reason": "`slow`: overwritten before they were sent; `restarted`: the agent was started anew since;"
            " `unwatched`: nobody watched for them in the mean time",
            "sources": "which sources nobody ran",
        },
    ),
    SOURCE_STARTED: Kind("", "a source works again", {"source": "its name"}),
    SOURCE_FAILED: Kind(
        "", "a source failed; until it is started again events may be missed", {"source": "its name", "reason": "why"}
    ),
    "agent.up": Kind(
        "",
        "the agent started",
        {"reason": "`boot` or `restart`", "version": "the agent's version", "boot_id": "tells one boot from another"},
    ),
    "agent.down": Kind(
        "",
        "the agent is about to go",
        {"reason": "`stop`, `shutdown`, `reboot`, `suspend`, ...", "message": "for people"},
    ),
    "power.stopping": Kind(
        "power",
        "the guest is about to shut down or to reboot; it waits until this event has left",
        {"type": "`poweroff`, `reboot`, `halt`, `kexec`, `soft-reboot`; left out by systemd before version 255"},
    ),
    "power.shutdown": Kind("power", "the guest shuts down", {"unit": "the target that systemd starts"}),
    "power.reboot": Kind("power", "the guest reboots", {"unit": "the target that systemd starts"}),
    "power.suspend": Kind(
        "power", "the guest is about to suspend or hibernate; it waits until this event has left", {}
    ),
    "power.resume": Kind("power", "the guest runs again", {"slept": "seconds that it slept"}),
    "power.failed": Kind(
        "power",
        "what a host asked for could not be done",
        {"action": "such as `shutdown`, `reboot`, `suspend`", "reason": "why"},
    ),
    "user.login": Kind("users", "a user logged in", _USER),
    "user.logout": Kind("users", "a session of a user ended", _USER),
    "link.added": Kind("network", "a network interface appeared", _LINK),
    "link.changed": Kind("network", "a network interface changed", _LINK),
    "link.removed": Kind("network", "a network interface is gone", {key: _LINK[key] for key in ("interface", "index")}),
    "address.added": Kind("network", "an interface got an address", _ADDRESS),
    "address.removed": Kind("network", "an interface lost an address", _ADDRESS),
    "mount.added": Kind("mounts", "a file system was mounted", _MOUNT),
    "mount.changed": Kind("mounts", "a mount has other options", _MOUNT),
    "mount.removed": Kind("mounts", "a file system was unmounted", _MOUNT),
    "device.added": Kind("devices", "a device was plugged in", _DEVICE),
    "device.changed": Kind("devices", "a device changed, such as its medium or its size", _DEVICE),
    "device.removed": Kind("devices", "a device was unplugged", _DEVICE),
    "unit.failed": Kind(
        "units",
        "a systemd unit failed",
        {"unit": "its name", "state": "its sub-state", "result": "why, such as `exit-code`, `signal`, `oom-kill`"},
    ),
    "memory.oom_kill": Kind(
        "memory",
        "the kernel killed a process, as memory ran out",
        {
            "pid": "the process",
            "process": "its name",
            "uid": "its user's number",
            "rss": "bytes of memory that it had",
            "cgroup": "its control group",
            "constraint": "`none`: the whole machine ran out; `memcg`: only the control group did",
        },
    ),
    "pressure.cpu": Kind("pressure", "processes waited for a processor longer than the threshold", _PRESSURE),
    "pressure.memory": Kind("pressure", "processes waited for memory longer than the threshold", _PRESSURE),
    "pressure.io": Kind("pressure", "processes waited for disks longer than the threshold", _PRESSURE),
    "clipboard.changed": Kind(
        "",
        "the clipboard of a user's session has other content; a session helper has to run there",
        {
            "user": "whose",
            "session": "which",
            "selection": "`clipboard` or `primary`",
            "types": "the MIME types that there are",
        },
    ),
}
