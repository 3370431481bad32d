"""The commands of qemu-ga on Linux (qga/qapi-schema.json, as of QEMU 11.2), and what does their work here."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COMMANDS", "WINDOWS_ONLY", "Covered"]


class Covered(NamedTuple):
    """What does the work of a command here.

    Attributes:
        methods: the methods; () if nothing has to.
        adds: what one gets beyond it.
    """

    methods: tuple[str, ...]
    adds: str


_EXEC = "streams as they come, a terminal, user, limits, signals; cancellation kills the whole group"
_FREEZE = "a lease: thaws by itself at its deadline, when the session is lost, or the agent dies"

COMMANDS: dict[str, Covered] = {
    "guest-sync-delimited": Covered((), "sessions are told apart by the hello; nothing is ever out of step"),
    "guest-sync": Covered((), "as above"),
    "guest-ping": Covered(
        ("agent.ping",), "clock, uptime, version; below it a ping of the protocol that no handler delays"
    ),
    "guest-info": Covered(("rpc.methods", "rpc.describe"), "types, defaults, errors and documentation of each method"),
    "guest-get-time": Covered(
        ("system.time",), "both clocks, so that the host measures the drift with its uncertainty"
    ),
    "guest-set-time": Covered(
        ("system.set_clock", "system.adjust_clock", "system.slew_clock"),
        "a slew instead of a step; says what else sets the clock",
    ),
    "guest-shutdown": Covered(
        ("power.shutdown", "power.reboot", "power.halt"),
        "an answer before it goes, delay, message, reason, and the end can be awaited",
    ),
    "guest-file-open": Covered(("files.read", "files.write"), "no handles that leak: a stream is the handle"),
    "guest-file-close": Covered((), "a stream ends with its reader, or with the session"),
    "guest-file-read": Covered(
        ("files.read",), "streamed with back-pressure, from any offset, resumed with a checksum"
    ),
    "guest-file-write": Covered(("files.write", "files.put", "files.append"), "atomic replacement with mode and owner"),
    "guest-file-seek": Covered(("files.read", "files.write"), "`offset` is an argument"),
    "guest-file-flush": Covered(("files.put",), "fsync of the file and of its directory"),
    "guest-fsfreeze-status": Covered(("storage.freezes",), "which filesystems, since when, for how long still"),
    "guest-fsfreeze-freeze": Covered(("storage.freeze",), _FREEZE),
    "guest-fsfreeze-freeze-list": Covered(("storage.freeze",), _FREEZE),
    "guest-fsfreeze-thaw": Covered(("storage.thaw",), "thaws what others left frozen, too"),
    "guest-fstrim": Covered(("storage.trim",), "progress as it goes, and cancellation"),
    "guest-suspend-disk": Covered(("power.hibernate",), "an answer before it sleeps, and the resumption as an event"),
    "guest-suspend-ram": Covered(("power.suspend",), "as above"),
    "guest-suspend-hybrid": Covered(("power.hybrid_sleep",), "as above"),
    "guest-network-get-interfaces": Covered(("network.interfaces",), "MTU, state, flags; changes are events"),
    "guest-network-get-route": Covered(("network.routes",), "all tables by netlink; can be set"),
    "guest-get-vcpus": Covered(("hardware.vcpus",), "topology"),
    "guest-set-vcpus": Covered(("hardware.set_vcpus",), "an answer for each one"),
    "guest-get-disks": Covered(("storage.disks",), "size, model, partitions, what holds them"),
    "guest-get-fsinfo": Covered(
        ("storage.filesystems",), "inodes, options; a network filesystem that hangs costs nothing"
    ),
    "guest-set-user-password": Covered(("accounts.set_password",), "never in a log; accounts can be locked"),
    "guest-get-memory-blocks": Covered(("hardware.memory_blocks",), "zones"),
    "guest-set-memory-blocks": Covered(("hardware.set_memory_blocks",), "errors in words"),
    "guest-get-memory-block-info": Covered(("hardware.memory_blocks",), "the same call tells it"),
    "guest-exec": Covered(("processes.run", "processes.capture", "jobs.start"), _EXEC),
    "guest-exec-status": Covered(
        ("processes.run", "jobs.output", "jobs.wait"), "nothing is polled; jobs outlive the channel"
    ),
    "guest-get-host-name": Covered(("system.hostname",), "can be set"),
    "guest-get-users": Covered(("system.users",), "seat, terminal, host; login and logout are events"),
    "guest-get-timezone": Covered(("system.info",), "with everything else of the system in one answer"),
    "guest-get-osinfo": Covered(("system.info",), "all of os-release, virtualization, boot and machine id"),
    "guest-ssh-get-authorized-keys": Covered(("accounts.authorized_keys",), "type, comment and options of each"),
    "guest-ssh-add-authorized-keys": Covered(
        ("accounts.add_authorized_keys",), "checked before they are written; SELinux label kept"
    ),
    "guest-ssh-remove-authorized-keys": Covered(("accounts.remove_authorized_keys",), "says what was there"),
    "guest-get-diskstats": Covered(("storage.counters", "stats.watch"), "rates as a stream"),
    "guest-get-cpustats": Covered(("stats.sample", "stats.watch"), "per processor, with pressure, as a stream"),
    "guest-get-load": Covered(("system.info", "stats.sample"), "pressure (PSI) as well"),
}

WINDOWS_ONLY = ("guest-get-devices", "guest-get-driver-packages", "guest-get-driver-services")
