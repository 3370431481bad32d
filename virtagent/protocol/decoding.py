"""Reading a recorded session for people: every frame of both directions, with secrets masked.

Unlike a live reader it knows no session beforehand: it learns tags from the hellos that it passes, and tries the
sessions they allow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import msgpack

from virtagent.protocol.announcement import Announcement
from virtagent.protocol.frames import (
    BATCH,
    CHECK_SIZE,
    FLAG_END,
    FLAG_FIRST,
    FLAG_LAST,
    FRAGMENT,
    HEADER,
    HEADER_SIZE,
    HELLO,
    MAGIC_BYTES,
    MESSAGE,
    PREFIX_SIZE,
    session_seed,
)
from virtagent.protocol.goodbye import decode_goodbye
from virtagent.protocol.hello import HEAD, HelloHead

__all__ = ["DecodedFrame", "SessionDecoder", "masked"]

NAMES = (
    "HELLO", "GOODBYE", "ALIVE", "PING", "PONG", "MESSAGE", "BATCH", "FRAGMENT", "ABORT", "DATA", "CREDIT", "RESET",
)  # fmt: skip
MESSAGE_NAMES = ("request", "response", "notification", "cancel")

SECRET = re.compile(r"pass(word|phrase)?|secret|token|credential|private|authorized_keys|^key$", re.IGNORECASE)
MASK = "(masked)"

LONGEST_VALUE = 256
"""Characters of one value that are shown."""

TAGS_KEPT = 32
"""How many tags of each side are tried: sessions before these are shown as noise."""


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """One frame, or a run of bytes that is none.

    Attributes:
        kind: its name, "noise" or "pad".
        stream: the stream field.
        sequence: the sequence field.
        length: bytes of payload, or of the run.
        content: what it carries, as plain data with secrets masked.
    """

    kind: str
    stream: int
    sequence: int
    length: int
    content: Any


class SessionDecoder:
    """Decodes both directions of one recording; give it bytes in the order of the recording."""

    def __init__(self) -> None:
        self._waiting = {True: bytearray(), False: bytearray()}
        self._tags: dict[bool, list[int]] = {True: [], False: []}
        self._checked = False
        self._transfers: dict[tuple[bool, int], bytearray] = {}

    def feed(self, sent: bool, data: bytes) -> Iterator[DecodedFrame]:
        """Bytes of one direction; gives the frames that are complete with them.

        Args:
            sent: the direction: from the side that recorded.
            data: the bytes.
        """
        waiting = self._waiting[sent]
        waiting += data
        while True:
            skipped = self._skip(waiting)
            if skipped is not None:
                yield skipped
            frame = self._frame(sent, waiting)
            if frame is None:
                return
            yield frame

    def _skip(self, waiting: bytearray) -> DecodedFrame | None:
        """Take away what cannot begin a frame."""
        start = waiting.find(MAGIC_BYTES)
        if start < 0:
            start = len(waiting) - (waiting[-1:] == MAGIC_BYTES[:1])
        if start == 0:
            return None
        kind = "noise" if any(waiting[:start]) else "pad"
        shown = bytes(waiting[: min(start, 64)]) if kind == "noise" else None
        del waiting[:start]
        return DecodedFrame(kind, 0, 0, start, masked(shown))

    def _frame(self, sent: bool, waiting: bytearray) -> DecodedFrame | None:
        if len(waiting) < HEADER_SIZE:
            return None
        _, word, stream, sequence, check = HEADER.unpack_from(waiting)
        kind, length = word >> 24, word & 0xFFFFFF
        prefix = bytes(waiting[:PREFIX_SIZE])
        is_hello = kind & 15 == HELLO and crc32(prefix) == check
        if not is_hello and not self._belongs(sent, prefix, check):
            del waiting[:1]
            return DecodedFrame("noise", 0, 0, 1, None)
        total = HEADER_SIZE + length + (CHECK_SIZE if length and (is_hello or self._checked) else 0)
        if len(waiting) < total:
            return None
        payload = bytes(waiting[HEADER_SIZE : HEADER_SIZE + length])
        del waiting[:total]
        base = kind & 15
        name = NAMES[base] if base < len(NAMES) else f"kind {base}"
        return DecodedFrame(name, stream, sequence, length, self._content(sent, kind, stream, payload))

    def _belongs(self, sent: bool, prefix: bytes, check: int) -> bool:
        return any(
            crc32(prefix, session_seed(mine, theirs)) == check
            for mine in reversed(self._tags[sent])
            for theirs in reversed(self._tags[not sent])
        )

    def _content(self, sent: bool, kind: int, stream: int, payload: bytes) -> Any:
        base = kind & 15
        if base == HELLO:
            return self._hello(sent, payload)
        if base == MESSAGE:
            return message(unpacked(payload))
        if base == BATCH:
            batch = unpacked(payload)
            return [message(each) for each in batch] if isinstance(batch, list) else batch
        if base == FRAGMENT:
            return self._fragment(sent, kind, stream, payload)
        if NAMES[base : base + 1] == ("GOODBYE",):
            return "acknowledgement" if kind & FLAG_LAST else decode_goodbye(memoryview(payload))
        if NAMES[base : base + 1] == ("DATA",):
            return {"end": bool(kind & FLAG_END), "bytes": f"{len(payload)} bytes"}
        if NAMES[base : base + 1] == ("CREDIT",):
            return int.from_bytes(payload, "big")
        return masked(unpacked(payload)) if payload else None

    def _hello(self, sent: bool, payload: bytes) -> Any:
        head = HelloHead.unpack(payload)
        announcement = Announcement.unpack(payload[HEAD.size :])
        if head is None or announcement is None:
            return "unreadable"
        tags = self._tags[sent]
        if head.tag not in tags:
            tags.append(head.tag)
            del tags[:-TAGS_KEPT]
        self._checked = self._checked or announcement.check
        who = announcement.identity
        return {
            "tag": f"{head.tag:08x}",
            "echo": f"{head.echo:08x}",
            "session": f"{head.session:08x}",
            "name": who.name,
            "software": who.software,
            "check": announcement.check,
        }

    def _fragment(self, sent: bool, kind: int, stream: int, payload: bytes) -> Any:
        key = (sent, stream)
        if kind & FLAG_FIRST:
            self._transfers[key] = bytearray(payload[4:])
        elif key in self._transfers:
            self._transfers[key] += payload
        if kind & FLAG_LAST and key in self._transfers:
            return message(unpacked(bytes(self._transfers.pop(key))))
        return "..."


def unpacked(payload: bytes) -> Any:
    """A decoded value, or what is wrong with it."""
    try:
        return msgpack.unpackb(payload, strict_map_key=False, timestamp=3, unicode_errors="surrogateescape")
    except (ValueError, msgpack.StackError) as error:
        return f"undecodable: {error}"


def message(value: Any) -> Any:
    """A message with the name of its type, and secrets masked."""
    if isinstance(value, list) and value and value[0] in range(4):
        return {MESSAGE_NAMES[value[0]]: masked(value[1:])}
    return masked(value)


def masked(value: Any, name: str = "") -> Any:
    """Plain data for display: values whose names sound secret are masked, long ones cut, bytes shown as such."""
    if name and SECRET.search(name) and value is not None:
        return MASK
    if isinstance(value, dict):
        return {str(key): masked(each, str(key)) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(each) for each in value]
    if isinstance(value, (bytes, bytearray)):
        shown = bytes(value[:32]).decode("latin-1").encode("unicode_escape").decode()
        return shown if len(value) <= 32 else f"{shown}... ({len(value)} bytes)"
    if isinstance(value, str) and len(value) > LONGEST_VALUE:
        return f"{value[:LONGEST_VALUE]}... ({len(value)} characters)"
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return repr(value)
