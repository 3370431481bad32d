"""Records of /dev/kmsg (Documentation/ABI/testing/dev-kmsg) and lines of syslog(2), understood."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from virtagent.api.log import KernelRecord

__all__ = ["parse_record", "parse_syslog_line"]

_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})")
_LINE = re.compile(r"(?:<(?P<priority>\d+)>)?(?:\[\s*(?P<time>\d+\.\d+)\](?:\[[^\]]*\])? ?)?(?P<message>.*)", re.DOTALL)
DEFAULT_PRIORITY = 6


def _text(data: bytes) -> str:
    """The kernel escapes what is not printable ASCII or UTF-8 as ``\\xNN``; the rest travels as rule V1 says."""
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), data).decode("utf-8", "surrogateescape")


def parse_record(data: bytes, *, booted: datetime, lost: int = 0) -> KernelRecord:
    r"""One read of /dev/kmsg: ``6,339,5140900,-;message\n KEY=value\n``.

    Args:
        booted: the moment that timestamps count from.
        lost: how many records before it were overwritten.

    Raises:
        ValueError: it is no record.
    """
    head, _, body = data.partition(b";")
    priority, sequence, microseconds, *more = head.split(b",")
    flags = more[0] if more else b"-"
    lines = body.rstrip(b"\n").split(b"\n")
    message = [lines[0]]
    fields: dict[str, str] = {}
    for line in lines[1:]:
        key, equals, value = line[1:].partition(b"=")
        if line[:1] == b" " and equals:
            fields[_text(key)] = _text(value)
        else:
            message.append(line)
    number, timestamp = int(priority), int(microseconds) / 1e6
    return KernelRecord(
        sequence=int(sequence),
        timestamp=timestamp,
        level=number & 7,
        message=_text(b"\n".join(message)),
        time=booted + timedelta(seconds=timestamp),
        facility=number >> 3,
        fields=fields,
        continued=flags in (b"c", b"+"),
        lost=lost,
    )


def parse_syslog_line(line: str, sequence: int, *, booted: datetime) -> KernelRecord:
    """One line of syslog(2): ``<6>[    5.140900] message``; what it does not say is taken as its default."""
    match = _LINE.fullmatch(line)
    assert match is not None, "every part is optional"
    number = int(match["priority"] or DEFAULT_PRIORITY) & 0x7FF
    timestamp = float(match["time"] or 0.0)
    return KernelRecord(
        sequence=sequence,
        timestamp=timestamp,
        level=number & 7,
        message=match["message"],
        time=booted + timedelta(seconds=timestamp),
        facility=number >> 3,
    )


def moment(seconds: float) -> datetime:
    """A Unix time as a moment."""
    return datetime.fromtimestamp(seconds, UTC)
