"""What is mounted: /proc/self/mountinfo (proc_pid_mountinfo(5))."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["MOUNTINFO", "NETWORK", "Mount", "by_filesystem", "parse_mountinfo", "read_mounts"]

MOUNTINFO = Path("/proc/self/mountinfo")

MOST = 10_000
"""Mounts that are looked at: containers have many, but not so many."""

NETWORK = {
    *("9p", "afs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncp", "ncpfs"),
    *("nfs", "nfs4", "ocfs2", "smb3", "smbfs", "virtiofs"),
}
"""Filesystems whose server may not answer."""

KERNEL = {
    *("autofs", "binder", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs"),
    *("efivarfs", "fusectl", "hugetlbfs", "mqueue", "nfsd", "nsfs", "proc", "pstore", "ramfs", "resctrl", "rootfs"),
    *("rpc_pipefs", "securityfs", "selinuxfs", "smackfs", "sysfs", "tracefs"),
}
"""What the kernel shows as a filesystem, without keeping anybody's data."""

_ESCAPE = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line.

    Attributes:
        id: of the mount.
        device: "major:minor" of the filesystem.
        root: what of the filesystem is mounted: "/" is all of it.
        mountpoint: where.
        options: of the mount.
        type: such as "ext4".
        source: such as "/dev/vda1".
        super_options: of the filesystem.
    """

    id: int
    device: str
    root: str
    mountpoint: str
    options: str
    type: str
    source: str
    super_options: str

    @property
    def is_network(self) -> bool:
        """Whether a server somewhere else has the files, or a process that may hang (FUSE)."""
        return self.type in NETWORK or self.type.partition(".")[0] == "fuse"

    @property
    def is_kernel(self) -> bool:
        """Whether it keeps nobody's data."""
        return self.type in KERNEL

    @property
    def has_disk(self) -> bool:
        """Whether it lies on a block device of this machine; btrfs and others have a device number of their own."""
        return not self.is_network and (not self.device.startswith("0:") or self.source.startswith("/dev/"))


def _text(field: str) -> str:
    """The kernel escapes space, tab, newline and backslash in octal."""
    if "\\" not in field:
        return field
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)


def parse_mountinfo(text: str) -> Iterator[Mount]:
    """The mounts, in the order in which they were mounted; a line that is none is left out."""
    for line in text.split("\n")[:MOST]:
        left, dash, right = line.partition(" - ")
        head, tail = left.split(" "), right.split(" ")
        if not dash or len(head) < 6 or len(tail) < 3 or not head[0].isdecimal():
            continue
        yield Mount(
            int(head[0]),
            head[2],
            _text(head[3]),
            _text(head[4]),
            head[5],
            tail[0],
            _text(tail[1]),
            tail[2],
        )


def read_mounts(path: Path = MOUNTINFO) -> list[Mount]:
    """What is mounted now. Raises OSError."""
    return list(parse_mountinfo(path.read_bytes().decode("utf-8", "surrogateescape")))


def by_filesystem(mounts: Iterable[Mount]) -> dict[str, list[Mount]]:
    """The mounts of each filesystem, by its device number, filesystems in the order of their first mount.

    The mount that shows all of a filesystem stands first: bind mounts of a part of it, or of one file, come behind.
    """
    found: dict[str, list[Mount]] = {}
    for each in mounts:
        found.setdefault(each.device, []).append(each)
    for places in found.values():
        places.sort(key=lambda each: each.root != "/")  # stable: else in the order of mounting
    return found
