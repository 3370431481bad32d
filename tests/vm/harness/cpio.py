"""The newc cpio format the kernel unpacks as initramfs, written without root and without the cpio tool.

Source: Documentation/driver-api/early-userspace/buffer-format.rst. Archives may be concatenated, which is what lets
`image` keep the slow part (the interpreter) apart from what changes with every edit (the wheel).
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import PurePosixPath

_ALIGNMENT = 4


@dataclass(frozen=True, slots=True)
class _Entry:
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Tree:
    """Guest files in memory; parents appear by themselves, a later entry replaces an earlier one."""

    _entries: dict[str, _Entry] = field(default_factory=dict)

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file at the absolute guest `path`."""
        self._put(path, _Entry(stat.S_IFREG | mode, data))

    def directory(self, path: str, mode: int = 0o755) -> None:
        """Add a directory; needed only for empty ones and for unusual modes."""
        self._put(path, _Entry(stat.S_IFDIR | mode))

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link at `path` that reads `target`."""
        self._put(path, _Entry(stat.S_IFLNK | 0o777, target.encode()))

    def character_device(self, path: str, major: int, minor: int) -> None:
        """Add a character device node: PID 1 needs /dev/console before it can mount devtmpfs."""
        self._put(path, _Entry(stat.S_IFCHR | 0o600, device=(major, minor)))

    def __contains__(self, path: str) -> bool:
        return path.lstrip("/") in self._entries

    def _put(self, path: str, entry: _Entry) -> None:
        name = path.strip("/")
        for parent in reversed(PurePosixPath(name).parents):
            if str(parent) != ".":
                self._entries.setdefault(str(parent), _Entry(stat.S_IFDIR | 0o755))
        self._entries[name] = entry

    def pack(self) -> bytes:
        """Return the archive, padded so that another one may follow."""
        packed = bytearray()
        for name, entry in self._entries.items():
            _append(packed, name, entry)
        _append(packed, "TRAILER!!!", _Entry(0))
        return bytes(packed)


def _append(packed: bytearray, name: str, entry: _Entry) -> None:
    encoded = name.encode() + b"\0"
    fields = (
        0,  # inode: only told apart for hard links, which we do not write
        entry.mode,
        0,  # uid
        0,  # gid
        1,  # links
        0,  # mtime: a constant keeps equal content an equal archive
        len(entry.data),
        0,  # device of the file system
        0,
        *entry.device,
        len(encoded),
        0,  # check sum, unused by newc
    )
    packed += b"070701" + b"".join(b"%08X" % value for value in fields)
    packed += encoded
    packed += bytes(-len(packed) % _ALIGNMENT)
    packed += entry.data
    packed += bytes(-len(packed) % _ALIGNMENT)
