"""GNU tar at the other end, and trees to archive."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

from virtagent.archive.extractor import Extractor
from virtagent.archive.reader import ArchiveReader
from virtagent.archive.writer import TreeWriter

LONG = "long-" + "ü" * 120

OPTIONS = ["--xattrs", "--xattrs-include=*", "--sparse", "--numeric-owner"]


def make_tree(top: Path, *, root: bool) -> None:
    """A tree with everything that an archive can hold."""
    (top / "directory" / "inner").mkdir(parents=True)
    (top / "empty").mkdir(mode=0o700)
    (top / "empty").chmod(0o1750)
    (top / "file").write_bytes(os.urandom(300_001))
    (top / "nothing").touch()
    (top / "directory" / "script").write_bytes(b"#!/bin/sh\n")
    (top / "directory" / "script").chmod(0o4755)
    (top / LONG).write_bytes(b"a long name")
    (top / "directory" / "link").symlink_to("../file")
    (top / "broken").symlink_to("x" * 150)
    os.link(top / "file", top / "directory" / "again")
    os.mkfifo(top / "fifo", 0o640)
    (top / os.fsdecode(b"not-utf-8-\xff\xfe")).write_bytes(b"bytes")
    with (top / "sparse").open("wb") as file:
        for position in (1 << 20, 5 << 20):
            file.seek(position)
            file.write(b"data" * 1000)
        file.truncate(9 << 20)
    with (top / "hole").open("wb") as file:
        file.truncate(3 << 20)
    os.setxattr(top / "file", "user.text", "grün".encode())
    os.setxattr(top / "directory", "user.bytes", bytes(range(256)))
    if root:
        os.chown(top / "file", 12345, 54321)
        os.chown(top / "broken", 3_000_000, 4_000_000, follow_symlinks=False)
        os.setxattr(top / "directory" / "script", "security.capability", CAPABILITY)
        os.mknod(top / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    for each in (top / "file", top / "directory" / "inner", top / "directory", top / "empty"):
        os.utime(each, ns=(1, 1_111_111_111_123_456_789))
    os.utime(top / "broken", ns=(1, 999_999_999_999_999_999), follow_symlinks=False)
    os.utime(top / "hole", ns=(1, -5_000_000_000))


CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
"""cap_net_raw, permitted and effective."""


def add_socket(top: Path) -> None:
    """A socket, which no archive holds."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(top / "socket"))


def archived(top: Path, **options: bool) -> bytes:
    """The tree as our archive."""
    descriptor = os.open(top, os.O_RDONLY)
    try:
        return b"".join(TreeWriter(descriptor, **options).tree())  # type: ignore[arg-type]
    finally:
        os.close(descriptor)


def extract(data: bytes, top: Path, *, piece: int = 100_000, **options: bool) -> Extractor:
    """Extract with our extractor, fed piece by piece."""
    top.mkdir(exist_ok=True)
    descriptor = os.open(top, os.O_RDONLY)
    extractor = Extractor(descriptor, **options)  # type: ignore[arg-type]
    try:
        reader = ArchiveReader(extractor)
        for start in range(0, len(data), piece):
            reader.feed(data[start : start + piece])
        reader.end()
        extractor.complete()
        return extractor
    finally:
        extractor.close()
        os.close(descriptor)


def tar(*arguments: str, data: bytes | None = None) -> bytes:
    """Run GNU tar."""
    done = subprocess.run(["tar", *arguments], input=data, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def told(top: Path, *, owners: bool = True, nanoseconds: bool = True) -> dict[bytes, object]:
    """All that is to be kept of a tree."""
    found: dict[bytes, object] = {}
    links: dict[int, bytes] = {}
    base = os.fsencode(top)
    for where, directories, files in os.walk(base):
        for name in sorted([*directories, *files, b"."] if where == base else [*directories, *files]):
            path = os.path.join(where, name)
            state = os.lstat(path)
            relative = os.path.relpath(path, base)
            content: object = None
            if stat.S_ISREG(state.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            elif stat.S_ISLNK(state.st_mode):
                content = os.readlink(path)
            elif stat.S_ISCHR(state.st_mode):
                content = state.st_rdev
            first = links.setdefault(state.st_ino, relative)
            found[relative] = (
                stat.S_IFMT(state.st_mode),
                stat.S_IMODE(state.st_mode),
                (state.st_uid, state.st_gid) if owners else None,
                state.st_mtime_ns if nanoseconds else state.st_mtime_ns // 1_000_000_000,
                first if state.st_nlink > 1 and not stat.S_ISDIR(state.st_mode) else None,
                {
                    each: os.getxattr(path, each, follow_symlinks=False)
                    for each in os.listxattr(path, follow_symlinks=False)
                },
                content,
            )
    return found


def allocated(path: Path) -> int:
    """Bytes on the disk."""
    return path.stat().st_blocks * 512
