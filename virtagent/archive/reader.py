"""Reading an archive as its bytes come, without input or output of its own."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

from virtagent.archive.header import (
    BLOCK,
    ArchiveError,
    RawHeader,
    padding,
    parse_header,
    parse_number,
    parse_records,
)
from virtagent.archive.member import NANO, TYPES, XATTR, Kind, Member, Segments

__all__ = ["ArchiveReader", "Sink"]

LARGEST_RECORDS = 4 * 1024 * 1024
"""Bytes of one pax header: extended attributes have at most 64 KiB each, and are few."""

MOST_RECORDS = 4096
"""Records of one member, and of all together."""

LONGEST_NAME = 64 * 1024
"""Bytes of a name in GNU's own form."""

MOST_SEGMENTS = 1_000_000
"""Pieces of one sparse file."""

_KINDS: dict[bytes, Kind] = {letter: kind for kind, letter in TYPES.items()} | {b"\0": "file", b"7": "file"}


class Sink(Protocol):
    """Where members go."""

    def begin(self, member: Member) -> None:
        """A member begins."""

    def write(self, offset: int, data: bytes) -> None:
        """Some of its content, and where in the file it belongs."""

    def finish(self) -> None:
        """It is complete."""


def _check_records(records: dict[bytes, bytes]) -> None:
    """Several headers may come one after the other: together they are no larger than one.

    Raises:
        ArchiveError: they are.
    """
    if len(records) > MOST_RECORDS or sum(len(key) + len(value) for key, value in records.items()) > LARGEST_RECORDS:
        raise ArchiveError(f"headers have more than {MOST_RECORDS} records, or {LARGEST_RECORDS} bytes")


class ArchiveReader:
    """Tells a sink what is in an archive.

    Args:
        sink: what it raises goes to who feeds.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = bytearray()
        self._need = 1
        self._ended = False
        self._between = True
        self._steps = self._run()
        self._next_step()

    def feed(self, data: bytes) -> None:
        """More of the archive; what comes after its end is ignored.

        Raises:
            ArchiveError: it is none that is understood.
        """
        if self._ended:
            return
        self._buffer += data
        while not self._ended and len(self._buffer) >= self._need:
            self._next_step()

    def _next_step(self) -> None:
        try:
            self._need = next(self._steps)
        except StopIteration:
            self._ended = True
            self._buffer.clear()

    def end(self) -> None:
        """There is no more.

        Raises:
            EOFError: that is too early; an archive without its end mark is taken.
        """
        if not self._ended and not (self._between and not self._buffer):
            raise EOFError("the archive ends too early")

    # Each of these yields how many bytes must be there for it to go on.

    def _take(self, size: int) -> Generator[int, None, bytes]:
        while len(self._buffer) < size:
            yield size
        data = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return data

    def _take_padded(self, size: int, most: int) -> Generator[int, None, bytes]:
        if size > most:
            raise ArchiveError(f"a header has {size} bytes, more than {most}")
        data = yield from self._take(size + padding(size))
        return data[:size]

    def _run(self) -> Generator[int, None, None]:
        common: dict[bytes, bytes] = {}
        own: dict[bytes, bytes] = {}
        while True:
            raw = parse_header((yield from self._take(BLOCK)))
            if raw is None:
                return
            self._between = False
            if raw.kind in (b"x", b"g"):
                records = parse_records((yield from self._take_padded(raw.size, LARGEST_RECORDS)))
                gathered = own if raw.kind == b"x" else common
                gathered.update(records)
                _check_records(gathered)
            elif raw.kind in (b"L", b"K"):
                text = yield from self._take_padded(raw.size, LONGEST_NAME)
                own[b"path" if raw.kind == b"L" else b"linkpath"] = text.partition(b"\0")[0]
            else:
                yield from self._member(raw, {**common, **own})
                own = {}
                self._between = True

    def _member(self, raw: RawHeader, records: dict[bytes, bytes]) -> Generator[int, None, None]:
        kind = _KINDS.get(raw.kind)
        size = _whole(records, b"size", raw.size)
        real, segments, stored = size, None, size
        if raw.kind == b"S":
            kind = "file"
            real, segments = yield from self._old_map(raw)
        elif b"GNU.sparse.major" in records:
            if (records[b"GNU.sparse.major"], records.get(b"GNU.sparse.minor")) != (b"1", b"0"):
                raise ArchiveError("a sparse file is in a format other than 1.0; use tar --sparse-version=1.0")
            real = _whole(records, b"GNU.sparse.realsize", -1)
            segments, used = yield from self._map(size)
            stored = size - used
        elif any(key.startswith(b"GNU.sparse.") for key in records):
            raise ArchiveError("a sparse file is in a format other than 1.0; use tar --sparse-version=1.0")
        if segments is not None:
            _check_map(segments, real, stored)
        if kind is None:
            raise ArchiveError(f"a member is of type {raw.kind!r}, which is not known")
        member = _make(raw, records, kind, real if kind == "file" else 0, segments)
        self._sink.begin(member)
        if kind == "file":
            for offset, length in [(0, size)] if segments is None else segments:
                yield from self._content(offset, length)
            yield from self._take(padding(size))
        elif kind not in ("hardlink", "link") and size:
            raise ArchiveError("a member that is no file has content")
        elif kind == "hardlink" and size:
            yield from self._skip(size + padding(size))
        self._sink.finish()

    def _content(self, offset: int, left: int) -> Generator[int, None, None]:
        while left:
            if not self._buffer:
                yield 1
            piece = bytes(memoryview(self._buffer)[:left])
            del self._buffer[: len(piece)]
            self._sink.write(offset, piece)
            offset += len(piece)
            left -= len(piece)

    def _skip(self, left: int) -> Generator[int, None, None]:
        while left:
            if not self._buffer:
                yield 1
            count = min(left, len(self._buffer))
            del self._buffer[:count]
            left -= count

    def _map(self, size: int) -> Generator[int, None, tuple[Segments, int]]:
        """The map of format 1.0 and how many bytes it took."""
        text = bytearray()
        numbers: list[int] = []
        used = at = 0
        while not numbers or len(numbers) < 1 + 2 * numbers[0]:
            end = text.find(b"\n", at)
            if end < 0:
                if used >= size or len(text) - at > 32:
                    raise ArchiveError("the map of a sparse file is damaged")
                text += yield from self._take(BLOCK)
                used += BLOCK
                continue
            if not text[at:end].isdigit():
                raise ArchiveError("the map of a sparse file is damaged")
            numbers.append(int(text[at:end]))
            at = end + 1
            if numbers[0] > MOST_SEGMENTS:
                raise ArchiveError(f"a sparse file has more than {MOST_SEGMENTS} pieces")
        return list(zip(numbers[1::2], numbers[2::2], strict=True)), used

    def _old_map(self, raw: RawHeader) -> Generator[int, None, tuple[int, Segments]]:
        """The real size and the map of GNU's old format, which is in the header and in blocks after it."""
        segments = _old_entries(raw.block[386:482])
        more = raw.block[482]
        while more:
            block = yield from self._take(BLOCK)
            segments += _old_entries(block[:504])
            more = block[504]
            if len(segments) > MOST_SEGMENTS:
                raise ArchiveError(f"a sparse file has more than {MOST_SEGMENTS} pieces")
        return parse_number(raw.block[483:495]), segments


def _old_entries(data: bytes) -> Segments:
    found = [(data[at : at + 12], data[at + 12 : at + 24]) for at in range(0, len(data), 24)]
    return [(parse_number(offset), parse_number(length)) for offset, length in found if offset[0]]


def _check_map(segments: Segments, real: int, stored: int) -> None:
    at = 0
    for offset, length in segments:
        if offset < at or length < 0:
            raise ArchiveError("the map of a sparse file is not in order")
        at = offset + length
    if at > real or real >= 2**63 or sum(length for _, length in segments) != stored:
        raise ArchiveError("the map of a sparse file does not fit its size")


def _whole(records: dict[bytes, bytes], key: bytes, default: int) -> int:
    if key not in records:
        return default
    if not records[key].isdigit() or len(records[key]) > 19:
        raise ArchiveError(f"a record {key.decode()} is no number")
    return int(records[key])


def _nanoseconds(text: bytes) -> int:
    whole, _, part = text.partition(b".")
    try:
        seconds = int(whole)
        rest = int(part[:9].ljust(9, b"0")) if part else 0
    except ValueError:
        raise ArchiveError("a record mtime is no number") from None
    return seconds * NANO + (-rest if whole.startswith(b"-") else rest)


def _make(raw: RawHeader, records: dict[bytes, bytes], kind: Kind, size: int, segments: Segments | None) -> Member:
    name = records.get(b"GNU.sparse.name") or records.get(b"path") or raw.name
    if kind == "file" and segments is None and name.endswith(b"/"):
        kind = "directory"  # as tar wrote them before there was a type for it
    target = records.get(b"linkpath", raw.target)
    if b"\0" in target or not (0 <= raw.major < 2**31 and 0 <= raw.minor < 2**31):
        raise ArchiveError("a member's target or device cannot be")
    return Member(
        name=name,
        kind=kind,
        mode=raw.mode,
        uid=_whole(records, b"uid", raw.uid),
        gid=_whole(records, b"gid", raw.gid),
        size=size,
        mtime=_nanoseconds(records[b"mtime"]) if b"mtime" in records else raw.mtime * NANO,
        target=target,
        major=raw.major,
        minor=raw.minor,
        xattrs={key[len(XATTR) :]: value for key, value in records.items() if key.startswith(XATTR)},
        segments=segments,
    )
