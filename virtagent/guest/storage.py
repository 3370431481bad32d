"""The service ``storage``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from virtagent.api.storage import (
    Disk,
    DiskCounters,
    Filesystem,
    Freeze,
    FreezeDeadline,
    Lease,
    Mountpoints,
    Storage,
    Thaw,
    ThawedFilesystem,
    Trimmed,
    TrimMinimum,
)
from virtagent.errors import FailedPrecondition, Unavailable
from virtagent.guest.block_devices import SECTOR, BlockDevices
from virtagent.guest.filesystems import Filesystems, Sizes
from virtagent.guest.freeze_targets import find_mounts
from virtagent.guest.mounts import MOUNTINFO, Mount, read_mounts
from virtagent.guest.os_errors import call_error
from virtagent.guest.resources import GuestService, Resources
from virtagent.peer.context import Context
from virtagent.service.options import in_thread, method

if TYPE_CHECKING:
    from virtagent.guest.diskstats import DiskCounters as Counted
    from virtagent.guest.freezes import Freezes

__all__ = ["StorageService"]

MOST_THAWS = 100
"""How often one filesystem is thawed at most: old kernels count freezes."""


class StorageService(GuestService, Storage):
    """Filesystems and disks of this machine.

    Args:
        resources: what services share.
        sys: where sysfs is.
        mountinfo: what tells of mounts.
    """

    def __init__(
        self, resources: Resources | None = None, *, sys: Path = Path("/sys"), mountinfo: Path = MOUNTINFO
    ) -> None:
        super().__init__(resources)
        self._mountinfo = mountinfo
        self._devices = BlockDevices(sys)
        self._filesystems = Filesystems(Sizes(), self._devices.addresses_of, self._is_frozen)
        self._stopping = ""
        self.resources.on_stop(self._stop)

    @cached_property
    def _freezes(self) -> Freezes:
        from virtagent.guest.freezes import Freezes  # noqa: PLC0415 - few hosts freeze

        return Freezes(self.resources)

    def _stop(self, reason: str, message: str) -> None:
        self._stopping = message or reason

    def _mounts(self) -> list[Mount]:
        try:
            return read_mounts(self._mountinfo)
        except OSError as error:
            raise call_error(str(self._mountinfo), error) from None

    def _is_frozen(self, device: str) -> bool:
        major, _, minor = device.partition(":")
        try:
            self.resources.frozen.check(os.makedev(int(major), int(minor)))
        except FailedPrecondition:
            return True
        return False

    # -- what there is -------------------------------------------------------------------------------------------

    async def filesystems(self, *, everything: bool = False, ask_network: bool = False) -> list[Filesystem]:
        return await self._filesystems.list(self._mounts(), everything=everything, ask_network=ask_network)

    @in_thread
    def disks(self) -> list[Disk]:
        mountpoints: dict[str, list[str]] = {}
        for mount in self._mounts():
            places = mountpoints.setdefault(mount.device, [])
            if mount.mountpoint not in places:
                places.append(mount.mountpoint)
        return self._devices.disks(mountpoints, _swaps())

    @in_thread
    def counters(self) -> list[DiskCounters]:
        from virtagent.guest.diskstats import read_diskstats  # noqa: PLC0415 - few hosts ask for them

        try:
            return [_counters(each) for each in read_diskstats()]
        except OSError as error:
            raise call_error("/proc/diskstats", error) from None

    # -- trimming ------------------------------------------------------------------------------------------------

    @method(idempotent=True)
    async def trim(self, mountpoints: Mountpoints | None = None, *, minimum: TrimMinimum = 0) -> AsyncIterator[Trimmed]:
        from virtagent.guest.trim import trimmable  # noqa: PLC0415 - few hosts trim

        mounts = self._mounts()
        chosen = trimmable(mounts) if mountpoints is None else find_mounts(mounts, mountpoints)
        for each in chosen:
            if self._is_frozen(each.device) and mountpoints is not None:
                raise FailedPrecondition(f"{each.mountpoint} is frozen; thaw it first")
        return self._trim(chosen, minimum, everything=mountpoints is None)

    async def _trim(self, mounts: list[Mount], minimum: int, *, everything: bool) -> AsyncIterator[Trimmed]:
        from virtagent.guest.trim import trim_apart  # noqa: PLC0415 - as above

        for number, each in enumerate(mounts, start=1):
            if self._stopping:
                raise Unavailable(self._stopping)
            if self._is_frozen(each.device):
                trimmed, used, error = 0, minimum, "it is frozen"
            else:
                trimmed, used, error = await trim_apart(each.mountpoint, minimum)
            yield Trimmed(
                mountpoint=each.mountpoint,
                source=each.source,
                trimmed=trimmed,
                minimum=used,
                error=error,
                number=number,
                count=len(mounts),
            )

    # -- freezing ------------------------------------------------------------------------------------------------

    async def freeze(
        self,
        mountpoints: Mountpoints | None = None,
        *,
        deadline: FreezeDeadline = 60.0,
        hooks: bool = True,
        ctx: Context | None = None,
    ) -> AsyncIterator[Freeze]:
        who = self.resources.grants.of(ctx).who or (ctx.peer.name if ctx is not None else "")
        return await self._freezes.freeze(mountpoints, deadline=deadline, hooks=hooks, who=who)

    async def renew(self, lease: Lease, *, deadline: FreezeDeadline = 60.0) -> Freeze:
        found = self._freezes.find(lease)
        found.renew(deadline)
        return found.state()

    async def freezes(self) -> list[Freeze]:
        return self._freezes.states()

    async def thaw(
        self, *, lease: Lease | None = None, mountpoints: Mountpoints | None = None, force: bool = False
    ) -> Thaw:
        done = await self._freezes.thaw(lease, mountpoints)
        if not force:
            return done
        left = await asyncio.to_thread(self._thaw_all, mountpoints)
        return Thaw(filesystems=[*done.filesystems, *left], leases=done.leases)

    def _thaw_all(self, mountpoints: Mountpoints | None) -> list[ThawedFilesystem]:
        """Thaw what others left: those that were frozen, and those where it failed."""
        from virtagent.guest.freeze_keeper import thaw  # noqa: PLC0415 - few hosts freeze
        from virtagent.guest.freeze_targets import choose_targets  # noqa: PLC0415

        found: list[ThawedFilesystem] = []
        try:
            targets = choose_targets(mountpoints, self._mounts())
        except FailedPrecondition:
            return []
        # The first mounted first: what lies on it can only go on when it does.
        for target in reversed(targets):
            thaws = 0
            try:
                while thaws < MOST_THAWS:
                    thaw(target.descriptor)
                    thaws += 1
            except OSError as error:
                refused = isinstance(error, PermissionError)
                if thaws or refused:
                    told = (error.strerror or "") if refused else ""
                    found.append(ThawedFilesystem(mountpoint=target.mount.mountpoint, error=told))
            finally:
                target.close()
        return found


def _counters(found: Counted) -> DiskCounters:
    return DiskCounters(
        name=f"/dev/{found.name.replace('!', '/')}",
        device=f"{found.major}:{found.minor}",
        reads=found.reads,
        reads_merged=found.reads_merged,
        read_bytes=found.read_sectors * SECTOR,
        read_time=found.read_ms / 1000,
        writes=found.writes,
        writes_merged=found.writes_merged,
        written_bytes=found.written_sectors * SECTOR,
        write_time=found.write_ms / 1000,
        in_flight=found.in_flight,
        busy_time=found.busy_ms / 1000,
        weighted_time=found.weighted_ms / 1000,
        discards=found.discards,
        discards_merged=found.discards_merged,
        discarded_bytes=None if found.discarded_sectors is None else found.discarded_sectors * SECTOR,
        discard_time=None if found.discard_ms is None else found.discard_ms / 1000,
        flushes=found.flushes,
        flush_time=None if found.flush_ms is None else found.flush_ms / 1000,
    )


def _swaps() -> frozenset[str]:
    with suppress(OSError):
        lines = Path("/proc/swaps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()[1:]
        return frozenset(line.split()[0] for line in lines if line.split())
    return frozenset()
