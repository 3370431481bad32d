"""Which filesystems a freeze is of, and open descriptors of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from virtagent.errors import FailedPrecondition, InvalidArgument, NotFound
from virtagent.guest.mounts import Mount, by_filesystem, read_mounts

__all__ = ["FreezeTarget", "choose_targets", "find_mounts", "local_filesystems"]


class FreezeTarget:
    """One filesystem that is to be frozen.

    Attributes:
        mount: where it is mounted.
        descriptor: of its mountpoint; -1: closed.
        devices: the numbers (``st_dev``) that files on it have.
    """

    def __init__(self, mount: Mount, descriptor: int) -> None:
        self.mount = mount
        self.descriptor = descriptor
        major, _, minor = mount.device.partition(":")
        self.devices = {os.makedev(int(major), int(minor)), os.fstat(descriptor).st_dev}

    def close(self) -> None:
        """Close the descriptor."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def local_filesystems(mounts: Sequence[Mount]) -> list[list[Mount]]:
    """The places of each filesystem that has a disk of this machine, in the order of mounting."""
    return [places for places in by_filesystem(mounts).values() if places[0].has_disk]


def find_mounts(mounts: Sequence[Mount], wanted: Sequence[str]) -> list[Mount]:
    """The mounts at these mountpoints, each filesystem once, in the order of mounting.

    Raises:
        InvalidArgument: a path is not absolute, or holds a NUL.
        NotFound: nothing is mounted there.
    """
    latest = {each.mountpoint: each for each in mounts}  # the last one mounted at a place is the one that is seen
    found: dict[str, Mount] = {}
    for path in wanted:
        if not path.startswith("/") or "\0" in path:
            raise InvalidArgument(f"{path!r} is no mountpoint; write an absolute path")
        mount = latest.get(os.path.normpath(path))
        if mount is None:
            raise NotFound(f"nothing is mounted at {path}; storage.filesystems lists what is")
        found.setdefault(mount.device, mount)
    order = {id(each): number for number, each in enumerate(mounts)}
    return sorted(found.values(), key=lambda each: order[id(each)])


def choose_targets(wanted: Sequence[str] | None, mounts: Sequence[Mount] | None = None) -> list[FreezeTarget]:
    """What to freeze, the last mounted first: what lies on a file of another filesystem must go before that one.

    Blocks. Descriptors are open in what is given; none are if this raises.

    Args:
        wanted: mountpoints; None: all local filesystems that are not mounted read-only.
        mounts: what is mounted; None: as it is now.

    Raises:
        InvalidArgument, NotFound: see :func:`find_mounts`.
        FailedPrecondition: there is none, or it is one of a server or a process that may hang.
    """
    mounts = read_mounts() if mounts is None else mounts
    targets: list[FreezeTarget] = []
    try:
        if wanted is None:
            writable = [places for places in local_filesystems(mounts) if not _read_only(places[0])]
            targets.extend(target for places in writable if (target := _open_first(places)) is not None)
        else:
            for mount in find_mounts(mounts, wanted):
                if mount.is_network:
                    raise FailedPrecondition(
                        f"{mount.mountpoint} is a {mount.type} filesystem: freeze it where its disk is"
                    )
                one = _open_first([mount])
                if one is None:
                    raise FailedPrecondition(f"{mount.mountpoint} cannot be opened, or another mount hides it")
                targets.append(one)
    except BaseException:
        for each in targets:
            each.close()
        raise
    if not targets:
        raise FailedPrecondition("this guest has no filesystem that could be frozen")
    return targets[::-1]


def _read_only(mount: Mount) -> bool:
    return "ro" in mount.super_options.split(",")


def _open_first(places: Sequence[Mount]) -> FreezeTarget | None:
    """Open the first of its mountpoints at which the filesystem is really seen."""
    for mount in places:
        try:
            found = os.lstat(mount.mountpoint)
            if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
                continue
            descriptor = os.open(mount.mountpoint, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        target = FreezeTarget(mount, descriptor)
        # btrfs gives each subvolume a number of its own, so there only the kind of number can be compared
        seen = os.makedev(*map(int, mount.device.split(":"))) == os.fstat(descriptor).st_dev
        if seen or mount.device.startswith("0:"):
            return target
        target.close()
    return None
