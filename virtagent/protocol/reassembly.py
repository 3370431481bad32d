"""Putting the fragments of long messages together, within bounds (docs/protocol.md, rules P4 to P6)."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from virtagent.protocol.codec import MessageHead, message_head
from virtagent.protocol.frames import FLAG_FIRST, FLAG_LAST
from virtagent.protocol.limits import Limits

__all__ = ["Reassembly", "TooLong"]

TOTAL: Final = struct.Struct(">I")

LARGEST_SPARE: Final = 4 * 1024 * 1024
"""Bytes of a buffer that is kept for the next message: fresh pages cost as much as the copying into them."""


class TooLong(NamedTuple):
    """A message that is longer than this side accepts: what could be read of it, and why it was refused."""

    head: MessageHead | None
    reason: str


class Partial:
    """A message of which a part has come.

    Attributes:
        buffer: where it is put together.
        data: as much of the buffer as the message has.
        filled: bytes that have come.
    """

    __slots__ = ("buffer", "data", "filled")

    def __init__(self, buffer: bytearray, total: int) -> None:
        self.buffer = buffer
        self.data = memoryview(buffer)[:total]
        self.filled = 0


class Reassembly:
    """The messages under reassembly in one session.

    Attributes:
        skipped: transfers refused for their size (rule P6).
        broken: transfers dropped because their fragments contradicted each other.
    """

    __slots__ = ("_limits", "_partial", "_spare", "_spare_is_used", "_total", "broken", "skipped")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._partial: dict[int, Partial] = {}
        self._spare = bytearray()
        self._spare_is_used = False
        self._total = 0
        self.skipped = 0
        self.broken = 0

    def __len__(self) -> int:
        return len(self._partial)

    def receive(self, kind: int, identifier: int, payload: memoryview) -> memoryview | TooLong | None:
        """A FRAGMENT came: the whole message if it was the last, why it is refused if it was the first, else None.

        The message is valid until the next call.
        """
        if kind & FLAG_FIRST:
            return self._first(kind, identifier, payload)
        partial = self._partial.get(identifier)
        if partial is None:
            return None
        return self._add(partial, kind, identifier, payload)

    def _first(self, kind: int, identifier: int, payload: memoryview) -> memoryview | TooLong | None:
        self.abort(identifier)
        if len(payload) < TOTAL.size:
            self.broken += 1
            return None
        total = TOTAL.unpack_from(payload)[0]
        reason = self._refusal(total)
        if reason is not None:
            self.skipped += 1
            return TooLong(message_head(payload[TOTAL.size :]), reason)
        partial = self._partial[identifier] = Partial(self._buffer(total), total)
        self._total += total
        return self._add(partial, kind, identifier, payload[TOTAL.size :])

    def _refusal(self, total: int) -> str | None:
        limits = self._limits
        if total > limits.message:
            return f"the message has {total} bytes, the limit is {limits.message}; use a stream"
        if self._total + total > limits.reassembly:
            return f"more than {limits.reassembly} bytes of long messages at a time"
        if len(self._partial) >= limits.transfers:
            return f"more than {limits.transfers} long messages at a time"
        return None

    def _buffer(self, total: int) -> bytearray:
        self._spare_is_used = True
        if len(self._spare) < total:
            return bytearray(total)
        buffer, self._spare = self._spare, bytearray()
        return buffer

    def _add(self, partial: Partial, kind: int, identifier: int, payload: memoryview) -> memoryview | None:
        end = partial.filled + len(payload)
        last = bool(kind & FLAG_LAST)
        if end > len(partial.data) or last != (end == len(partial.data)):
            self.broken += 1
            self.abort(identifier)
            return None
        partial.data[partial.filled : end] = payload
        partial.filled = end
        if not last:
            return None
        self.abort(identifier)
        return partial.data

    def abort(self, identifier: int) -> None:
        """Forget a message of which a part has come (rule P5)."""
        partial = self._partial.pop(identifier, None)
        if partial is not None:
            self._total -= len(partial.data)
            if len(self._spare) < len(partial.buffer) <= LARGEST_SPARE:
                self._spare = partial.buffer

    def tidy(self) -> None:
        """Give back the buffer that is kept, if no message has used it since the last time."""
        if not self._spare_is_used:
            self._spare = bytearray()
        self._spare_is_used = False
