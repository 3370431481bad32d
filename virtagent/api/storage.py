"""Filesystems and disks of the guest: what there is, trimming, and freezing for a consistent snapshot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Literal

import msgspec

from virtagent.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = [
    "LONGEST_FREEZE",
    "Disk",
    "DiskAddress",
    "DiskCounters",
    "Filesystem",
    "Freeze",
    "FreezeDeadline",
    "FreezeEnd",
    "FreezeHook",
    "FreezeStatus",
    "FrozenFilesystem",
    "Lease",
    "Mountpoint",
    "Mountpoints",
    "PciAddress",
    "Storage",
    "Thaw",
    "ThawedFilesystem",
    "TrimMinimum",
    "Trimmed",
]

LONGEST_FREEZE = 3600.0
"""Seconds that a lease may have at a time; it may be renewed."""

Mountpoint = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]

Mountpoints = Annotated[list[Mountpoint], msgspec.Meta(min_length=1, max_length=256)]
"""Absolute paths where filesystems are mounted."""

FreezeDeadline = Annotated[float, msgspec.Meta(gt=0, le=LONGEST_FREEZE)]
"""Seconds after which a lease ends by itself, an hour at most."""

Lease = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
"""The name of a freeze, as the agent gave it."""

TrimMinimum = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

FreezeStatus = Literal["waiting", "freezing", "frozen", "unsupported", "busy", "failed", "thawed"]

FreezeEnd = Literal["", "thawed", "released", "deadline", "forced", "agent", "keeper", "failed"]


class PciAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a controller is on the PCI bus, as ``lspci`` and QEMU's ``info pci`` count."""

    domain: int
    bus: int
    slot: int
    function: int


class DiskAddress(msgspec.Struct, frozen=True, kw_only=True):
    """How a disk is attached, so that a host finds the one it gave. None and "" mean: it has none, or cannot be told.

    Attributes:
        device: the disk, such as "/dev/vda".
        bus_type: "virtio", "scsi", "sata", "ide", "nvme", "usb", "mmc", "xen" or "unknown".
        pci: the controller.
        bus, target, unit: as QEMU counts them: channel, id and lun of SCSI; the port of SATA is ``unit``.
        serial: what ``serial=`` of QEMU's device says.
        wwn: the World Wide Name.
        ccw: the channel-subsystem address of s390x, such as "0.0.1234".
    """

    device: str
    bus_type: str = "unknown"
    pci: PciAddress | None = None
    bus: int | None = None
    target: int | None = None
    unit: int | None = None
    serial: str = ""
    wwn: str = ""
    ccw: str = ""


class Filesystem(msgspec.Struct, frozen=True, kw_only=True):
    """A filesystem, and where it is mounted (proc_pid_mountinfo(5), statvfs(3)). None means: cannot be told.

    Attributes:
        mountpoint: where it is mounted; of several places, the first.
        source: such as "/dev/vda1", "tmpfs", "server:/export".
        type: such as "ext4".
        options: of the mount and of the filesystem.
        device: "major:minor".
        other_mountpoints: further places (bind mounts).
        total: bytes, those reserved for root included.
        free: bytes that root may use.
        available: bytes that others may use.
        used: bytes.
        files: inodes.
        files_free: inodes that are free.
        read_only: it is mounted so.
        network: it is somewhere else, and is not asked for its size unless that is wanted.
        frozen: the agent holds it frozen.
        error: why the size cannot be told.
        disks: the disks that it is on; several for a volume group or an array.
    """

    mountpoint: str
    source: str
    type: str
    options: str = ""
    device: str = ""
    other_mountpoints: list[str] = []
    total: int | None = None
    free: int | None = None
    available: int | None = None
    used: int | None = None
    files: int | None = None
    files_free: int | None = None
    read_only: bool = False
    network: bool = False
    frozen: bool = False
    error: str = ""
    disks: list[DiskAddress] = []


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """A block device (/sys/block).

    Attributes:
        name: such as "/dev/vda1".
        kind: "disk", "partition", "rom", "loop", "crypt", "lvm", "raid", "multipath", "mapper", "zram" or "ram".
        device: "major:minor".
        size: bytes.
        logical_sector, physical_sector: bytes.
        read_only, removable: as the kernel sees it.
        rotational: it has platters, or says so.
        discard: it can be trimmed.
        model, vendor: what it says of itself.
        alias: the name of a mapped device, such as "vg0-root".
        parents: the devices that it lies on, such as "/dev/vda" of "/dev/vda1".
        mountpoints: where its filesystem is mounted.
        swap: the guest swaps to it.
        address: how it is attached; None for what lies on others.
    """

    name: str
    kind: str
    device: str
    size: int
    logical_sector: int | None = None
    physical_sector: int | None = None
    read_only: bool = False
    removable: bool = False
    rotational: bool | None = None
    discard: bool = False
    model: str = ""
    vendor: str = ""
    alias: str = ""
    parents: list[str] = []
    mountpoints: list[str] = []
    swap: bool = False
    address: DiskAddress | None = None


class DiskCounters(msgspec.Struct, frozen=True, kw_only=True):
    """What a block device has done since boot (Documentation/admin-guide/iostats.rst).

    Attributes:
        name: such as "/dev/vda".
        device: "major:minor".
        reads, writes, discards, flushes: requests that completed; None: the kernel is too old to count them.
        reads_merged, writes_merged, discards_merged: requests that were joined with a neighbour before.
        read_bytes, written_bytes, discarded_bytes: bytes.
        read_time, write_time, discard_time, flush_time: seconds that the requests took, all together.
        in_flight: requests that have not completed.
        busy_time: seconds in which there was any.
        weighted_time: seconds, times how many there were.
    """

    name: str
    device: str
    reads: int
    reads_merged: int
    read_bytes: int
    read_time: float
    writes: int
    writes_merged: int
    written_bytes: int
    write_time: float
    in_flight: int
    busy_time: float
    weighted_time: float
    discards: int | None = None
    discards_merged: int | None = None
    discarded_bytes: int | None = None
    discard_time: float | None = None
    flushes: int | None = None
    flush_time: float | None = None


class Trimmed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one filesystem.

    Attributes:
        trimmed: bytes that the filesystem told its disk to be unused.
        minimum: bytes; shorter ranges were left alone.
        error: why it was not trimmed; "" if it was.
        number, count: this is so many of so many.
    """

    mountpoint: str
    source: str = ""
    trimmed: int = 0
    minimum: int = 0
    error: str = ""
    number: int = 0
    count: int = 0


class FreezeHook(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a hook.

    Attributes:
        path: the program.
        argument: "freeze" or "thaw".
        status: its exit status; negative: the signal that ended it; None: it could not be run, or took too long.
        error: what went wrong, with the end of its standard error; "": nothing.
    """

    path: str
    argument: str
    status: int | None = None
    error: str = ""


class FrozenFilesystem(msgspec.Struct, frozen=True, kw_only=True):
    """One filesystem of a freeze.

    Attributes:
        status: "frozen"; "unsupported": it cannot be frozen (FIFREEZE gives EOPNOTSUPP); "busy": somebody else has
            frozen it already (EBUSY); "failed"; "thawed"; "waiting" and "freezing" on the way.
        error: in words.
    """

    mountpoint: str
    source: str = ""
    type: str = ""
    status: FreezeStatus = "waiting"
    error: str = ""


class Freeze(msgspec.Struct, frozen=True, kw_only=True):
    """A lease and its state.

    Attributes:
        lease: its name, for ``renew`` and ``thaw``.
        filesystems: in the order in which they are frozen, the last mounted first.
        remaining: seconds until it ends by itself.
        age: seconds since the first filesystem began to be frozen.
        who: whose it is.
        ended: "": it holds. "thawed": by ``thaw`` with its name; "released": its stream ended, or its session was lost;
            "deadline"; "forced": by a ``thaw`` without its name; "agent": the agent went; "keeper": the watchdog
            process died; "failed": it never held.
        hooks: the hooks that ran so far.
        memory_locked: the watchdog process needs nothing from any disk; False: mlockall(2) was not permitted.
        error: what went wrong at its end: a filesystem that somebody else had thawed before, say.
    """

    lease: str
    filesystems: list[FrozenFilesystem]
    remaining: float
    age: float = 0.0
    who: str = ""
    ended: FreezeEnd = ""
    hooks: list[FreezeHook] = []
    memory_locked: bool = True
    error: str = ""


class ThawedFilesystem(msgspec.Struct, frozen=True, kw_only=True):
    """One filesystem of a thaw; error "": it is thawed."""

    mountpoint: str
    error: str = ""


class Thaw(msgspec.Struct, frozen=True, kw_only=True):
    """What a thaw did.

    Attributes:
        filesystems: those that were frozen.
        leases: the leases that it ended, in their last state.
    """

    filesystems: list[ThawedFilesystem] = []
    leases: list[Freeze] = []


class Storage(Service, name="storage", interface=True):
    """Filesystems and disks of the guest."""

    @method(idempotent=True, role="observe", since="0.1.0")
    async def filesystems(self, *, everything: bool = False, ask_network: bool = False) -> list[Filesystem]:
        """What is mounted, in the order in which it was; each filesystem once.

        Args:
            everything: those of the kernel, too (proc, sysfs, cgroup2, ...).
            ask_network: ask file servers for sizes, too; one that does not answer within 2 seconds gets an ``error``.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def disks(self) -> list[Disk]:
        """The block devices, partitions after their disks."""
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def counters(self) -> list[DiskCounters]:
        """What each block device has done since boot; ``stats`` gives rates."""
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=(NotFound, FailedPrecondition, PermissionDenied))
    async def trim(self, mountpoints: Mountpoints | None = None, *, minimum: TrimMinimum = 0) -> AsyncIterator[Trimmed]:
        """Tell disks which of their blocks are unused (FITRIM, fstrim(8)), one filesystem after the other.

        Ending the stream leaves the filesystem that is being trimmed to its end, and those after it alone.

        Args:
            mountpoints: None: all local filesystems that can be trimmed.
            minimum: bytes; shorter ranges are left alone.

        Raises:
            NotFound: nothing is mounted there.
            FailedPrecondition: it is frozen.
        """
        raise NotImplementedError

    @method(
        role="admin",
        since="0.1.0",
        errors=(
            NotFound,
            InvalidArgument,
            PermissionDenied,
            FailedPrecondition,
            AlreadyExists,
            Aborted,
            ResourceExhausted,
            Unavailable,
        ),
    )
    async def freeze(
        self, mountpoints: Mountpoints | None = None, *, deadline: FreezeDeadline = 60.0, hooks: bool = True
    ) -> AsyncIterator[Freeze]:
        """Freeze filesystems (FIFREEZE, fsfreeze(8)) as a lease: it holds as long as this stream, and no longer.

        All is thawed when the deadline passes, the stream is ended, the session is lost, or the agent dies; a watchdog
        process sees to that, whose memory is locked. What freezing began is undone if one filesystem fails.

        The first item tells what is frozen, further ones how long it remains so; the last one has ``ended``. A lease
        that ends by itself ends the stream with an error, so that nobody takes a snapshot for consistent that is not.

        Args:
            mountpoints: these, and the call fails if one cannot be frozen. None: all that can be.
            deadline: seconds from when the first filesystem begins to be frozen.
            hooks: run the hooks of the guest before, and after the thaw.

        Raises:
            NotFound: nothing is mounted there.
            PermissionDenied: the agent may not (CAP_SYS_ADMIN).
            FailedPrecondition: it cannot be frozen, or there is nothing that could.
            AlreadyExists: it is frozen already.
            Aborted: a hook failed, or the deadline passed before all was frozen; all is as before.
            ResourceExhausted: too many leases.
        """
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=(NotFound,))
    async def renew(self, lease: Lease, *, deadline: FreezeDeadline = 60.0) -> Freeze:
        """Let a lease end so many seconds from now, whatever was said before.

        Raises:
            NotFound: there is no such lease, or it has ended; the message says how.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def freezes(self) -> list[Freeze]:
        """The leases that hold. What others froze the kernel does not tell."""
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=(NotFound, PermissionDenied))
    async def thaw(
        self, *, lease: Lease | None = None, mountpoints: Mountpoints | None = None, force: bool = False
    ) -> Thaw:
        """Thaw, and run the hooks; returns when that is done.

        Args:
            lease: this one; None: all.
            mountpoints: only leases that hold one of these.
            force: also what others froze and left so: every local filesystem, or those mounted at ``mountpoints``.

        Raises:
            NotFound: there is no such lease, or it has ended; the message says how.
        """
        raise NotImplementedError
