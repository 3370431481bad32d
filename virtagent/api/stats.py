"""What the guest's processors, memory, disks, network and processes do, as samples at an interval."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from virtagent.errors import ResourceExhausted, Unavailable
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = [
    "ALL_GROUPS",
    "SHORTEST_INTERVAL",
    "CpuUse",
    "DiskUse",
    "FilesystemUse",
    "Group",
    "Groups",
    "Interval",
    "MemoryUse",
    "NetworkUse",
    "Number",
    "Over",
    "Pressure",
    "ProcessUse",
    "Ranking",
    "Receipts",
    "Sample",
    "SamplePatch",
    "Stall",
    "Stats",
    "SwapUse",
    "Top",
]

Group = Literal["cpu", "memory", "swap", "pressure", "load", "disks", "network", "filesystems", "processes"]

ALL_GROUPS: tuple[Group, ...] = (
    "cpu",
    "memory",
    "swap",
    "pressure",
    "load",
    "disks",
    "network",
    "filesystems",
    "processes",
)

SHORTEST_INTERVAL = 0.05
"""Seconds between two samples, at least."""

Groups = Annotated[list[Group], msgspec.Meta(min_length=1, max_length=len(ALL_GROUPS))]
"""What a sample holds."""

Interval = Annotated[float, msgspec.Meta(ge=SHORTEST_INTERVAL, le=86400)]
"""Seconds between two samples."""

Over = Annotated[float, msgspec.Meta(ge=0, le=60)]
"""Seconds over which rates are measured."""

Top = Annotated[int, msgspec.Meta(ge=1, le=1000)]
"""How many processes a sample holds."""

Ranking = Literal["cpu", "memory"]
"""By what processes are chosen."""

Receipts = Annotated[str, msgspec.Meta(max_length=64)]
"""A name that the reader chose for its receipts; "": it gives none."""

Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class CpuUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One processor, or all together (proc_stat(5)). Times are seconds since boot; guest is in user, too.

    Attributes:
        percent: how much of the time since the last sample it was neither idle nor waiting for a disk: 0 to 100.
    """

    user: float
    nice: float
    system: float
    idle: float
    iowait: float = 0.0
    irq: float = 0.0
    softirq: float = 0.0
    steal: float = 0.0
    guest: float = 0.0
    guest_nice: float = 0.0
    percent: float | None = None


class MemoryUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Memory, in bytes (proc_meminfo(5)).

    Attributes:
        total: what the kernel manages.
        available: what programs could get without swapping.
        used: the rest: total minus available.
    """

    total: int
    available: int
    used: int
    free: int
    buffers: int = 0
    cached: int = 0
    shared: int = 0
    reclaimable: int = 0
    dirty: int = 0


class SwapUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Swap space, in bytes.

    Attributes:
        swapped_in, swapped_out: bytes since boot.
        in_rate, out_rate: bytes per second since the last sample.
    """

    total: int
    used: int
    free: int
    swapped_in: int | None = None
    swapped_out: int | None = None
    in_rate: float | None = None
    out_rate: float | None = None


class Stall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much time was lost waiting (Documentation/accounting/psi.rst).

    Attributes:
        avg10, avg60, avg300: percent of the last 10, 60 and 300 seconds.
        total: seconds since boot.
    """

    avg10: float
    avg60: float
    avg300: float
    total: float


class Pressure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Pressure stall information of one resource.

    Attributes:
        some: at least one task waited for it.
        full: all that could have run waited for it.
    """

    some: Stall | None = None
    full: Stall | None = None


class DiskUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A disk or a partition. Counters are since boot; rates are since the last sample.

    Attributes:
        read_bytes, written_bytes: bytes.
        busy: seconds during which any request was open.
        in_flight: requests that are open.
        partition: it is a part of another device that is told of, too.
        read_rate, write_rate: bytes per second.
        reads_rate, writes_rate: requests per second.
        utilization: percent of the time during which any request was open.
    """

    reads: int
    read_bytes: int
    writes: int
    written_bytes: int
    busy: float
    in_flight: int
    partition: bool = False
    read_rate: float | None = None
    write_rate: float | None = None
    reads_rate: float | None = None
    writes_rate: float | None = None
    utilization: float | None = None


class NetworkUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A network interface. Counters are since it came; rates are since the last sample, per second."""

    received_bytes: int
    received_packets: int
    receive_errors: int
    receive_dropped: int
    sent_bytes: int
    sent_packets: int
    send_errors: int
    send_dropped: int
    receive_rate: float | None = None
    send_rate: float | None = None
    receive_packet_rate: float | None = None
    send_packet_rate: float | None = None


class FilesystemUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A local filesystem (statvfs(3)), in bytes.

    Attributes:
        source: the device.
        kind: such as "ext4".
        available: what users may still fill; root may have more.
        percent: used of what users may have, as df(1) tells it.
        answers: False: it did not answer in time, and the other figures are missing.
    """

    source: str
    kind: str
    total: int | None = None
    used: int | None = None
    available: int | None = None
    inodes: int | None = None
    inodes_free: int | None = None
    percent: float | None = None
    read_only: bool = False
    answers: bool = True


class ProcessUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A process.

    Attributes:
        name: what the kernel calls it, 15 bytes at most.
        command: its arguments, shortened; "": a kernel thread.
        user: an account in /etc/passwd, or a number.
        state: as in proc_pid_stat(5): R running, S sleeping, D waiting for a disk, Z zombie, T stopped.
        cpu_time: seconds, user and system together.
        memory: resident bytes.
        percent: processor time since the last sample, of one processor: it may be above 100.
    """

    name: str
    state: str
    user: str
    cpu_time: float
    memory: int
    threads: int
    command: str = ""
    percent: float | None = None


class Sample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was asked for, at one moment. What was not asked for, or the kernel does not tell, is None or empty.

    Attributes:
        number: counts intervals from 0; a gap: samples that the reader was too slow for, which were never made.
        time: the guest's clock.
        clock: the guest's monotonic clock, in seconds.
        interval: seconds since the sample that rates refer to; None: this is the first one, without rates.
        cpu: all processors together.
        cpus: each, by its number.
        load: the load averages over 1, 5 and 15 minutes.
        pressure: by "cpu", "memory", "io", "irq".
        disks, network, filesystems: by device, by interface, by mount point.
        processes: those that use most, by process id.
        process_count: how many processes there are.
    """

    number: int
    time: datetime
    clock: float
    interval: float | None = None
    cpu: CpuUse | None = None
    cpus: dict[str, CpuUse] = {}
    memory: MemoryUse | None = None
    swap: SwapUse | None = None
    pressure: dict[str, Pressure] = {}
    load: tuple[float, float, float] | None = None
    disks: dict[str, DiskUse] = {}
    network: dict[str, NetworkUse] = {}
    filesystems: dict[str, FilesystemUse] = {}
    processes: dict[str, ProcessUse] = {}
    process_count: int | None = None


class SamplePatch(msgspec.Struct, frozen=True, kw_only=True):
    """What has changed from one sample to the next, as a JSON merge patch (RFC 7396).

    A reader starts with an empty object and applies each patch: fields in it take the place of those that were there,
    objects in it are applied to the object that was there, None takes a field away. What results is the sample, in
    which fields that would have their default are left out. ``guest.stats.follow(changes_only=True)`` does that.

    Attributes:
        patch: the fields of a :class:`Sample` that changed; of the first one: all.
    """

    patch: dict[str, Any]


class Stats(Service, name="stats", interface=True):
    """What the guest's processors, memory, disks, network and processes do."""

    @method(idempotent=True, role="observe", since="0.1.0", errors=(Unavailable,))
    async def sample(
        self, *, groups: Groups | None = None, over: Over = 0.0, top: Top = 10, by: Ranking = "cpu"
    ) -> Sample:
        """One sample.

        Args:
            groups: what it shall hold; None: everything.
            over: seconds over which rates and percentages are measured, at most 60; 0: there are none.
            top: how many processes.
            by: by what they are chosen.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0", errors=(ResourceExhausted, Unavailable))
    def watch(
        self,
        *,
        interval: Interval = 1.0,
        groups: Groups | None = None,
        top: Top = 10,
        by: Ranking = "cpu",
        receipts: Receipts = "",
    ) -> AsyncIterator[Sample]:
        """Samples without end: the first at once, the others whole intervals after it, without drifting.

        A sample that nobody could take in time is not made: the stream goes on with a later one, and numbers tell.
        With ``receipts`` that holds for the reader itself: no more than two samples are under way to it. Without them
        it holds for the line, and a reader that is slow finds as many old samples as the stream's buffers hold.

        Args:
            interval: seconds, from 0.05 to a day.
            groups: what each sample shall hold; None: everything.
            top: how many processes.
            by: by what they are chosen.
            receipts: a name; the reader calls :meth:`took` with it for each sample that it has taken.

        Raises:
            ResourceExhausted: the peer has too many watches.
            Unavailable: (at the end) the agent goes.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0", errors=(ResourceExhausted, Unavailable))
    def changes(
        self,
        *,
        interval: Interval = 1.0,
        groups: Groups | None = None,
        top: Top = 10,
        by: Ranking = "cpu",
        receipts: Receipts = "",
    ) -> AsyncIterator[SamplePatch]:
        """The same samples as :meth:`watch` gives, for slow lines: each as what has changed since the one before.

        Args: see :meth:`watch`.

        Raises:
            ResourceExhausted: the peer has too many watches.
            Unavailable: (at the end) the agent goes.
        """
        raise NotImplementedError

    @method(role="observe", since="0.1.0")
    def took(self, receipts: Receipts, number: Number) -> None:
        """The reader has taken this sample and those before. A notification: it is not answered.

        Args:
            receipts: what was given to :meth:`watch` or :meth:`changes`.
            number: the sample's.
        """
