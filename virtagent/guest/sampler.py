"""Makes samples: reads counters, and tells what has become of them since the last time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import structs

from virtagent.api.stats import ALL_GROUPS, CpuUse, DiskUse, Group, NetworkUse, Ranking, Sample, SwapUse
from virtagent.guest import facts
from virtagent.guest.cpu_times import TICK, CpuTimes, read_cpu_times
from virtagent.guest.diskstats import SECTOR, DiskCounters, read_diskstats
from virtagent.guest.filesystem_use import FilesystemUses
from virtagent.guest.memory_use import memory_use, read_meminfo, read_vmstat, swap_use
from virtagent.guest.net_dev import InterfaceCounters, read_net_dev
from virtagent.guest.pressure import read_pressure
from virtagent.guest.process_ranking import ProcessRanking

__all__ = ["Sampler", "rate"]

BLOCK = "/sys/block"


def rate(now: float | None, before: float | None, seconds: float) -> float | None:
    """How much a counter grows in a second; None where it went back, as those of a device that was replaced do."""
    if now is None or before is None or now < before:
        return None
    return round((now - before) / seconds, 1)


class Sampler:
    """One reader's samples. Its methods block for some milliseconds, and are not for several threads at once.

    Args:
        filesystems: asks filesystems; shared by all samplers, so that one which hangs is asked once.
        groups: what samples hold; None: everything.
        top, by: which processes.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        filesystems: FilesystemUses,
        *,
        groups: Iterable[Group] | None = None,
        top: int = 10,
        by: Ranking = "cpu",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._groups = frozenset(groups or ALL_GROUPS)
        self._filesystems = filesystems
        self._ranking = ProcessRanking()
        self._top: int = top
        self._by: Ranking = by
        self._clock = clock
        self._last: float | None = None
        self._cpus: dict[str, CpuTimes] = {}
        self._disks: dict[str, DiskCounters] = {}
        self._network: dict[str, InterfaceCounters] = {}
        self._swap: SwapUse | None = None

    def take(self, number: int = 0) -> Sample:
        """Make a sample.

        Raises:
            OSError: /proc is not there.
        """
        now = self._clock()
        before, self._last = self._last, now
        seconds = None if before is None or now <= before else now - before
        told: dict[str, Any] = {}
        for group in self._groups:
            told |= getattr(self, f"_{group}_group")(seconds)
        return Sample(
            number=number,
            time=facts.now(),
            clock=round(now, 3),
            interval=None if seconds is None else round(seconds, 3),
            **told,
        )

    def _cpu_group(self, seconds: float | None) -> dict[str, Any]:
        before, self._cpus = self._cpus, read_cpu_times()
        found = {name: _cpu_use(times, before.get(name)) for name, times in self._cpus.items()}
        return {"cpu": found.pop("", None), "cpus": found}

    def _memory_group(self, seconds: float | None) -> dict[str, Any]:
        return {"memory": memory_use(read_meminfo())}

    def _swap_group(self, seconds: float | None) -> dict[str, Any]:
        now = swap_use(read_meminfo(), read_vmstat())
        before, self._swap = self._swap, now
        if before is not None and seconds:
            now = structs.replace(
                now,
                in_rate=rate(now.swapped_in, before.swapped_in, seconds),
                out_rate=rate(now.swapped_out, before.swapped_out, seconds),
            )
        return {"swap": now}

    def _pressure_group(self, seconds: float | None) -> dict[str, Any]:
        return {"pressure": read_pressure()}

    def _load_group(self, seconds: float | None) -> dict[str, Any]:
        return {"load": facts.load()}

    def _disks_group(self, seconds: float | None) -> dict[str, Any]:
        """Devices that have done anything; the others are loop devices and the like, which nobody has set up."""
        before, self._disks = self._disks, {each.name: each for each in read_diskstats() if each.reads or each.writes}
        return {"disks": {name: _disk_use(each, before.get(name), seconds) for name, each in self._disks.items()}}

    def _network_group(self, seconds: float | None) -> dict[str, Any]:
        before, self._network = self._network, read_net_dev()
        return {
            "network": {name: _network_use(each, before.get(name), seconds) for name, each in self._network.items()}
        }

    def _filesystems_group(self, seconds: float | None) -> dict[str, Any]:
        return {"filesystems": self._filesystems.read()}

    def _processes_group(self, seconds: float | None) -> dict[str, Any]:
        count, found = self._ranking.read(top=self._top, by=self._by, seconds=seconds)
        return {"process_count": count, "processes": found}


def _cpu_use(times: CpuTimes, before: CpuTimes | None) -> CpuUse:
    seconds = {name: round(ticks * TICK, 2) for name, ticks in zip(CpuTimes._fields, times, strict=True)}
    return CpuUse(percent=None if before is None else times.percent_since(before), **seconds)


def _disk_use(now: DiskCounters, before: DiskCounters | None, seconds: float | None) -> DiskUse:
    use = DiskUse(
        reads=now.reads,
        read_bytes=now.read_sectors * SECTOR,
        writes=now.writes,
        written_bytes=now.written_sectors * SECTOR,
        busy=now.busy_ms / 1e3,
        in_flight=now.in_flight,
        partition=not os.path.isdir(f"{BLOCK}/{now.name.replace('/', '!')}"),
    )
    if before is None or not seconds:
        return use
    busy = rate(now.busy_ms, before.busy_ms, seconds)
    return structs.replace(
        use,
        read_rate=rate(use.read_bytes, before.read_sectors * SECTOR, seconds),
        write_rate=rate(use.written_bytes, before.written_sectors * SECTOR, seconds),
        reads_rate=rate(now.reads, before.reads, seconds),
        writes_rate=rate(now.writes, before.writes, seconds),
        utilization=None if busy is None else min(round(busy / 10, 1), 100.0),
    )


def _network_use(now: InterfaceCounters, before: InterfaceCounters | None, seconds: float | None) -> NetworkUse:
    use = NetworkUse(**now._asdict())
    if before is None or not seconds:
        return use
    return structs.replace(
        use,
        receive_rate=rate(now.received_bytes, before.received_bytes, seconds),
        send_rate=rate(now.sent_bytes, before.sent_bytes, seconds),
        receive_packet_rate=rate(now.received_packets, before.received_packets, seconds),
        send_packet_rate=rate(now.sent_packets, before.sent_packets, seconds),
    )
