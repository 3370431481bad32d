"""Trimming: a filesystem tells its disk which blocks are unused (FITRIM of linux/fs.h, fstrim(8))."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress

from virtagent.guest.freeze_targets import local_filesystems
from virtagent.guest.mounts import Mount

__all__ = ["FITRIM", "trim", "trim_apart", "trimmable"]

FITRIM = 0xC0185879
"""_IOWR('X', 121, struct fstrim_range) of linux/fs.h."""

_RANGE = struct.Struct("=QQQ")
_WHOLE = 2**64 - 1


def trimmable(mounts: Sequence[Mount]) -> list[Mount]:
    """One mount of each local filesystem that is not read-only."""
    return [places[0] for places in local_filesystems(mounts) if "ro" not in places[0].super_options.split(",")]


def trim(mountpoint: str, minimum: int) -> tuple[int, int, str]:
    """Trim one filesystem; bytes that were trimmed, the minimum that it used, and why it could not be done.

    Blocks for as long as the disk takes.
    """
    try:
        descriptor = os.open(mountpoint, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return 0, minimum, error.strerror or str(error)
    argument = bytearray(_RANGE.pack(0, _WHOLE, minimum))
    try:
        fcntl.ioctl(descriptor, FITRIM, argument)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY):
            return 0, minimum, "neither the filesystem nor its disk can be trimmed"
        return 0, minimum, error.strerror or str(error)
    finally:
        os.close(descriptor)
    _, trimmed, used = _RANGE.unpack(argument)
    return trimmed, used, ""


async def trim_apart(mountpoint: str, minimum: int) -> tuple[int, int, str]:
    """:func:`trim` in a thread that the agent's end does not wait for: a large disk takes minutes."""
    loop = asyncio.get_running_loop()
    trimmed: asyncio.Future[tuple[int, int, str]] = loop.create_future()

    def settle(found: tuple[int, int, str]) -> None:
        if not trimmed.done():
            trimmed.set_result(found)

    def work() -> None:
        found = trim(mountpoint, minimum)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=work, name=f"trim {mountpoint}", daemon=True).start()
    return await trimmed
