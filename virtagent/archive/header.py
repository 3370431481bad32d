"""The blocks of 512 bytes that begin each member of an archive (POSIX.1-2008, pax; GNU tar, "Tar Internals")."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = [
    "BLOCK",
    "END",
    "ArchiveError",
    "RawHeader",
    "pack_header",
    "pack_number",
    "pack_records",
    "padding",
    "parse_header",
    "parse_number",
    "parse_records",
]

BLOCK = 512

END = bytes(2 * BLOCK)
"""What an archive ends with."""

_RECORD = re.compile(rb"(\d{1,8}) ([^=\n]{1,1024})=", re.DOTALL)


class ArchiveError(ValueError):
    """It is no archive that is understood here; the message says why."""


class RawHeader(NamedTuple):
    """What a header block says, before the records that go before it are taken into account."""

    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    kind: bytes
    target: bytes
    major: int
    minor: int
    block: bytes


def padding(size: int) -> int:
    """How many bytes fill the last block up."""
    return -size % BLOCK


def pack_number(value: int, width: int) -> bytes:
    """A number in octal, or where that has no room in base 256 as GNU tar writes it."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    if not -(256 ** (width - 1)) <= value < 256 ** (width - 1):
        raise ArchiveError(f"{value} has no room in a field of {width} bytes")
    sign = b"\x80" if value >= 0 else b"\xff"
    whole: int = value % 256 ** (width - 1)
    return sign + whole.to_bytes(width - 1, "big")


def parse_number(field: bytes) -> int:
    """The number in a field.

    Raises:
        ArchiveError: it is none.
    """
    if field[:1] in (b"\x80", b"\xff"):
        value = int.from_bytes(field[1:], "big")
        return value - 256 ** (len(field) - 1) if field[0] == 0xFF else value
    text = field.partition(b"\0")[0].strip(b" ")
    if not text:
        return 0
    if not re.fullmatch(rb"[0-7]+", text):
        raise ArchiveError("a field of a header is no number")
    return int(text, 8)


def pack_header(
    *,
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    kind: bytes,
    target: bytes = b"",
    major: int = 0,
    minor: int = 0,
) -> bytes:
    """A header block. What has no room is cut off or 0: the records before it tell the whole."""

    def fit(value: int, width: int) -> bytes:
        return pack_number(value if 0 <= value < 8 ** (width - 1) else 0, width)

    fields = [
        name[:100].ljust(100, b"\0"),
        fit(mode, 8),
        fit(uid, 8),
        fit(gid, 8),
        fit(size, 12),
        fit(mtime, 12),
        b" " * 8,
        kind,
        target[:100].ljust(100, b"\0"),
        b"ustar\x0000",
        bytes(64),
        fit(major, 8),
        fit(minor, 8),
        bytes(155 + 12),
    ]
    block = bytearray(b"".join(fields))
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def parse_header(block: bytes) -> RawHeader | None:
    """What a header block says; None: it is the end of the archive.

    Raises:
        ArchiveError: it is no header.
    """
    if not any(block):
        return None
    expected = parse_number(block[148:156])
    blank = block[:148] + b" " * 8 + block[156:]
    signed = sum(each - 256 if each > 127 else each for each in blank)
    if expected not in (sum(blank), signed):
        raise ArchiveError("this is no tar archive, or it is damaged: a header's checksum is wrong")
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and (prefix := block[345:500].partition(b"\0")[0]):
        name = prefix + b"/" + name
    size = parse_number(block[124:136])
    if size < 0:
        raise ArchiveError("a member has a negative size")
    return RawHeader(
        name=name,
        mode=parse_number(block[100:108]) & 0o7777,
        uid=parse_number(block[108:116]),
        gid=parse_number(block[116:124]),
        size=size,
        mtime=parse_number(block[136:148]),
        kind=block[156:157],
        target=block[157:257].partition(b"\0")[0],
        major=parse_number(block[329:337]),
        minor=parse_number(block[337:345]),
        block=block,
    )


def pack_records(records: dict[bytes, bytes]) -> bytes:
    """pax records: ``length keyword=value`` and a newline each, where the length counts itself, too."""
    return b"".join(_pack_record(key, value) for key, value in records.items())


def _pack_record(key: bytes, value: bytes) -> bytes:
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def parse_records(data: bytes) -> dict[bytes, bytes]:
    """The records in a pax header.

    Raises:
        ArchiveError: they are damaged.
    """
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(data) and data[at] != 0:
        match = _RECORD.match(data, at)
        if match is None:
            raise ArchiveError("a pax header is damaged")
        end = at + int(match[1])
        if end > len(data) or end <= match.end() - 1 or data[end - 1] != 0x0A:
            raise ArchiveError("a pax header is damaged: a record's length is wrong")
        records[match[2]] = data[match.end() : end - 1]
        at = end
    return records
