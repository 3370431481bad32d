"""The key/value store's file: a journal of changes, each with its length and checksum.

A line that names the format, then records: length of the body (4 bytes, little endian), CRC-32 of it (4 bytes), and the
body in MessagePack: version, time, key, value or nil. The last one may be half written when the machine crashed, and is
left out then; anything else that is wrong is damage, which is told.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgpack

from virtagent.api.kv import LARGEST_VALUE, LONGEST_KEY

__all__ = ["HEADER", "Contents", "Record", "encode", "read_journal"]

HEADER = b"virtagent-kv 1\n"

LARGEST_BODY = LARGEST_VALUE + LONGEST_KEY + 64

NEARBY = 2 * LARGEST_BODY
"""Bytes behind damage in which a record that is whole is looked for."""

_PREFIX = struct.Struct("<II")


class Record(NamedTuple):
    """One change.

    Attributes:
        version: counts all changes.
        time: seconds since 1970.
        key: which.
        value: None: it was deleted.
    """

    version: int
    time: float
    key: str
    value: bytes | None


class Contents(NamedTuple):
    """What a file holds.

    Attributes:
        records: the changes, in their order.
        size: how many of its bytes are good, up to a last record that is half written.
        damage: what is wrong; "": nothing.
    """

    records: list[Record]
    size: int
    damage: str


def encode(records: Iterable[Record]) -> bytes:
    """Records as they stand in the file."""
    pieces = []
    for record in records:
        body: bytes = msgpack.packb(tuple(record), use_bin_type=True)
        pieces += [_PREFIX.pack(len(body), zlib.crc32(body)), body]
    return b"".join(pieces)


def read_journal(data: bytes) -> Contents:
    """Understand a file. What follows damage is taken, too, as far as it can be found."""
    if not data:
        return Contents([], 0, "")
    if not data.startswith(HEADER):
        if HEADER.startswith(data) or not data.strip(b"\0"):
            return Contents([], 0, "")  # the first write was cut short
        return Contents([], 0, "it does not begin as such a file does")
    records: list[Record] = []
    damage, at, last = "", len(HEADER), 0
    while at < len(data):
        record, end = _record_at(data, at)
        if record is not None and record.version > last:
            records.append(record)
            at, last = end, record.version
            continue
        following = _next_record(data, at + 1, last)
        if following is None and _may_be_torn(data, at):
            break
        damage = damage or f"the record at byte {at} is not what was written"
        if following is None:
            break
        at = following
    return Contents(records, at, damage)


def _record_at(data: bytes, at: int) -> tuple[Record | None, int]:
    """The record that stands there, if one does, and where the next one begins."""
    if at + _PREFIX.size > len(data):
        return None, at
    length, checksum = _PREFIX.unpack_from(data, at)
    end = at + _PREFIX.size + length
    if not 0 < length <= LARGEST_BODY or end > len(data):
        return None, at
    body = data[at + _PREFIX.size : end]
    return (_understood(body) if zlib.crc32(body) == checksum else None), end


def _next_record(data: bytes, start: int, last: int) -> int | None:
    """Where the next record stands that is whole, and newer than ``last``; None if there is none nearby."""
    for at in range(start, min(len(data), start + NEARBY)):
        record, _ = _record_at(data, at)
        if record is not None and record.version > last:
            return at
    return None


def _understood(body: bytes) -> Record | None:
    try:
        found: Any = msgpack.unpackb(body, raw=False)
    except ValueError:
        return None
    if not isinstance(found, list) or len(found) != 4:
        return None
    version, time, key, value = found
    if type(version) is not int or not isinstance(time, float) or not isinstance(key, str):
        return None
    return Record(version, time, key, value) if value is None or isinstance(value, bytes) else None


def _may_be_torn(data: bytes, at: int) -> bool:
    """Whether what stands there, with nothing whole behind it, can be the last write, cut short by a crash.

    A filesystem may have made the file longer before it wrote what belongs there, which leaves zeros.
    """
    return len(data) - at <= _PREFIX.size + LARGEST_BODY or not data[at:].strip(b"\0")
