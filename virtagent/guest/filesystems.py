"""Filesystems with their sizes; one whose server does not answer costs two seconds, and one thread until it does."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from virtagent.api.storage import DiskAddress, Filesystem
from virtagent.guest.mounts import Mount, by_filesystem

__all__ = ["Filesystems", "Sizes"]

PATIENCE = 2.0
"""Seconds in which statvfs(3) must answer."""

MOST = 1000
"""Filesystems that are told of."""


class Sizes:
    """statvfs(3) in threads of their own; a mountpoint that still hangs from before is not asked again.

    Args:
        statvfs: asks; may block for ever.
    """

    def __init__(self, statvfs: Callable[[str], os.statvfs_result] = os.statvfs, patience: float = PATIENCE) -> None:
        self._statvfs = statvfs
        self._patience = patience
        self._hanging: set[str] = set()

    async def ask(self, mountpoint: str) -> os.statvfs_result | str:
        """The filesystem's sizes, or why they cannot be told."""
        if mountpoint in self._hanging:
            return "does not answer"
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[os.statvfs_result | str] = loop.create_future()

        def settle(found: os.statvfs_result | str) -> None:
            self._hanging.discard(mountpoint)
            if not answer.done():
                answer.set_result(found)

        def work() -> None:
            found: os.statvfs_result | str
            try:
                found = self._statvfs(mountpoint)
            except OSError as error:
                found = error.strerror or str(error)
            try:
                loop.call_soon_threadsafe(settle, found)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

        self._hanging.add(mountpoint)
        threading.Thread(target=work, name=f"statvfs {mountpoint}", daemon=True).start()
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(answer)
        except TimeoutError:
            return "does not answer"


class Filesystems:
    """What is mounted, made ready to be told.

    Args:
        sizes: asks for sizes.
        addresses: tells the disks of "major:minor" or of a device's path.
        is_frozen: tells whether a filesystem ("major:minor") is frozen.
    """

    def __init__(
        self, sizes: Sizes, addresses: Callable[[str], list[DiskAddress]], is_frozen: Callable[[str], bool]
    ) -> None:
        self._sizes = sizes
        self._addresses = addresses
        self._is_frozen = is_frozen

    async def list(self, mounts: Sequence[Mount], *, everything: bool, ask_network: bool) -> list[Filesystem]:
        """The filesystems, in the order of mounting."""
        chosen = [places for places in by_filesystem(mounts).values() if everything or not places[0].is_kernel][:MOST]
        asked = await asyncio.gather(*(self._ask(places[0], ask_network) for places in chosen))
        return [self._filesystem(places, size) for places, size in zip(chosen, asked, strict=True)]

    async def _ask(self, mount: Mount, ask_network: bool) -> os.statvfs_result | str:
        if mount.is_network:
            return await self._sizes.ask(mount.mountpoint) if ask_network else ""
        if mount.type == "autofs":
            return ""
        try:
            return os.statvfs(mount.mountpoint)  # answered from memory
        except OSError as error:
            return error.strerror or str(error)

    def _filesystem(self, places: Sequence[Mount], size: os.statvfs_result | str) -> Filesystem:
        first = places[0]
        make: Callable[..., Filesystem] = partial(
            Filesystem,
            mountpoint=first.mountpoint,
            source=first.source,
            type=first.type,
            options=",".join(dict.fromkeys([*first.options.split(","), *first.super_options.split(",")])),
            device=first.device,
            other_mountpoints=[each.mountpoint for each in places[1:]],
            read_only="ro" in {*first.options.split(","), *first.super_options.split(",")},
            network=first.is_network,
            frozen=self._is_frozen(first.device),
            disks=self._addresses(first.source if first.device.startswith("0:") else first.device)
            if first.has_disk
            else [],
        )
        if isinstance(size, str):
            return make(error=size)
        return make(**_sizes(size))


def _sizes(found: os.statvfs_result) -> dict[str, Any]:
    block = found.f_frsize or found.f_bsize
    return {
        "total": found.f_blocks * block,
        "free": found.f_bfree * block,
        "available": found.f_bavail * block,
        "used": (found.f_blocks - found.f_bfree) * block,
        "files": found.f_files,
        "files_free": found.f_ffree,
    }
