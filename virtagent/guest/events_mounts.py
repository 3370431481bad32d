"""Events of mounts: the kernel tells that /proc/self/mountinfo changed (proc(5)); comparing tells what did."""

from __future__ import annotations

import os
from typing import Any

from virtagent.guest.event_sources import Source
from virtagent.guest.mounts import MOUNTINFO, Mount, parse_mountinfo
from virtagent.guest.priority_poll import PriorityPoll

__all__ = ["compare", "watch_mounts"]

MOST_CHANGES = 256
"""Events of one look; of a machine that changes more mounts at once the first ones are told."""


def compare(before: list[Mount], after: list[Mount]) -> list[tuple[str, Mount]]:
    """What happened between two looks: removed ones (the last one first), then changed ones, then added ones."""
    old = {_identity(each): each for each in before}
    new = {_identity(each): each for each in after}
    removed = [("mount.removed", mount) for key, mount in old.items() if key not in new]
    changed = [("mount.changed", mount) for key, mount in new.items() if key in old and old[key] != mount]
    added = [("mount.added", mount) for key, mount in new.items() if key not in old]
    return removed[::-1] + changed + added


def _identity(mount: Mount) -> tuple[Any, ...]:
    """The kernel gives the number of a mount that is gone to the next one."""
    return mount.id, mount.device, mount.root, mount.mountpoint


def _fields(mount: Mount) -> dict[str, Any]:
    options = mount.options.split(",")
    options += [each for each in mount.super_options.split(",") if each and each not in options]
    return {
        "mountpoint": mount.mountpoint,
        "type": mount.type,
        "source": mount.source,
        "options": ",".join(options),
        "root": mount.root,
        "device": mount.device,
    }


async def watch_mounts(source: Source, path: str = str(MOUNTINFO)) -> None:
    """Publish ``mount.*``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        mounts = _read(descriptor)
        async with PriorityPoll([descriptor]) as poll:
            source.ready()
            while True:
                await poll.next()
                before, mounts = mounts, _read(descriptor)
                for kind, mount in compare(before, mounts)[:MOST_CHANGES]:
                    source.publish(kind, **_fields(mount))
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> list[Mount]:
    """All mounts, from the beginning of the file."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    pieces = []
    while piece := os.read(descriptor, 1 << 20):
        pieces.append(piece)
    return list(parse_mountinfo(b"".join(pieces).decode("utf-8", "surrogateescape")))
