"""One member of an archive: what it is, and how that is written."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from virtagent.archive.header import pack_header, pack_records, padding

__all__ = ["Kind", "Member", "Segments", "pack_member", "pack_sparse_map"]

Kind = Literal["file", "directory", "link", "hardlink", "character", "block", "fifo"]

Segments = list[tuple[int, int]]
"""Positions and lengths of the data in a sparse file, in order."""

TYPES: dict[Kind, bytes] = {
    "file": b"0",
    "hardlink": b"1",
    "link": b"2",
    "character": b"3",
    "block": b"4",
    "directory": b"5",
    "fifo": b"6",
}

XATTR = b"SCHILY.xattr."
NANO = 1_000_000_000


class Member(NamedTuple):
    """One member.

    Attributes:
        name: relative, components separated by "/".
        size: of the file, holes included; 0 for what is no file.
        mtime: nanoseconds since the epoch.
        target: of a link; of a hard link the name of an earlier member.
        xattrs: extended attributes.
        segments: where a sparse file has data; None: everywhere.
    """

    name: bytes
    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    target: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: Mapping[bytes, bytes] = MappingProxyType({})
    segments: Segments | None = None

    @property
    def stored(self) -> int:
        """Bytes of content in the archive, without a sparse file's map."""
        return self.size if self.segments is None else sum(length for _, length in self.segments)


def pack_sparse_map(segments: Segments) -> bytes:
    """The map that goes before a sparse file's data (GNU tar, PAX Format, Version 1.0)."""
    lines = [len(segments), *(number for segment in segments for number in segment)]
    text = b"".join(b"%d\n" % number for number in lines)
    return text + bytes(padding(len(text)))


def pack_member(member: Member) -> bytes:
    """All that goes before a member's content: pax records where the header has no room, the header, a sparse map."""
    sparse_map = b"" if member.segments is None else pack_sparse_map(member.segments)
    size = (member.stored + len(sparse_map)) if member.kind == "file" else 0
    name = member.name + b"/" if member.kind == "directory" else member.name
    records = _records(member, name, size)
    if sparse_map:
        # What does not know sparse files makes one that says what it is.
        folder, _, last = member.name.rpartition(b"/")
        name = (folder or b".") + b"/GNUSparseFile.0/" + last
    header = pack_header(
        name=name,
        mode=member.mode,
        uid=member.uid,
        gid=member.gid,
        size=size,
        mtime=member.mtime // NANO,
        kind=TYPES[member.kind],
        target=member.target,
        major=member.major,
        minor=member.minor,
    )
    return _extended(records, name, member.mtime // NANO) + header + sparse_map


def _records(member: Member, name: bytes, size: int) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    if member.segments is not None:
        records[b"GNU.sparse.major"] = b"1"
        records[b"GNU.sparse.minor"] = b"0"
        records[b"GNU.sparse.name"] = name
        records[b"GNU.sparse.realsize"] = b"%d" % member.size
    if len(name) > 100 and member.segments is None:
        records[b"path"] = name
    if len(member.target) > 100:
        records[b"linkpath"] = member.target
    for key, value, most in ((b"uid", member.uid, 8**7), (b"gid", member.gid, 8**7), (b"size", size, 8**11)):
        if not 0 <= value < most:
            records[key] = b"%d" % value
    seconds, rest = divmod(member.mtime, NANO)
    if rest or not 0 <= seconds < 8**11:
        records[b"mtime"] = _decimal(member.mtime)
    for attribute, content in member.xattrs.items():
        if b"=" not in attribute and b"\n" not in attribute:
            records[XATTR + attribute] = content
    return records


def _decimal(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    seconds, rest = divmod(abs(nanoseconds), NANO)
    return sign + b"%d.%09d" % (seconds, rest)


def _extended(records: dict[bytes, bytes], name: bytes, mtime: int) -> bytes:
    if not records:
        return b""
    data = pack_records(records)
    header = pack_header(
        name=b"PaxHeaders/" + name[-80:].strip(b"/"),
        mode=0o644,
        uid=0,
        gid=0,
        size=len(data),
        mtime=mtime,
        kind=b"x",
    )
    return header + data + bytes(padding(len(data)))
