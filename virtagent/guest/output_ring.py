"""The last bytes of an output, by their absolute offsets."""

from __future__ import annotations

from bisect import bisect_right
from typing import Literal, NamedTuple

__all__ = ["OutputRing", "Piece", "Source"]

Source = Literal["stdout", "stderr"]

BLOCK = 64 * 1024
"""Bytes of a block; a piece that is given is never larger."""

SMALLEST_BLOCK = 64
"""A block counts as so many bytes more: what alternates bytewise between the two must not cost a hundredfold."""


class Piece(NamedTuple):
    """Bytes at an offset.

    Attributes:
        lost: bytes right before, which were asked for and are not kept.
    """

    offset: int
    source: Source
    data: bytes
    lost: int


class _Block:
    __slots__ = ("data", "offset", "source")

    def __init__(self, offset: int, source: Source) -> None:
        self.offset = offset
        self.source: Source = source
        self.data = bytearray()


class OutputRing:
    """Keeps the last bytes that were written to it.

    Args:
        limit: how many bytes.

    Attributes:
        written: bytes so far: the offset of the next one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit + SMALLEST_BLOCK * (limit // BLOCK + 2)  # full blocks cost nothing
        self._blocks: list[_Block] = []
        self._cost = 0
        self.written = 0

    @property
    def kept_from(self) -> int:
        """The offset of the oldest byte that is kept."""
        return self._blocks[0].offset if self._blocks else self.written

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return self.written - self.kept_from

    def write(self, source: Source, data: bytes) -> None:
        """Add bytes; the oldest go where there are too many."""
        view = memoryview(data)
        while view:
            last = self._blocks[-1] if self._blocks else None
            if last is None or last.source != source or len(last.data) >= BLOCK:
                last = _Block(self.written, source)
                self._blocks.append(last)
                self._cost += SMALLEST_BLOCK
            some = view[: BLOCK - len(last.data)]
            last.data += some
            self.written += len(some)
            self._cost += len(some)
            view = view[len(some) :]
            self._shrink()

    def _shrink(self) -> None:
        dropped = 0
        excess = self._cost - self._limit
        while excess > 0:
            first = self._blocks[dropped]
            whole = len(first.data) + SMALLEST_BLOCK
            if excess >= len(first.data):
                dropped += 1
                excess -= whole
                self._cost -= whole
                continue
            del first.data[:excess]
            first.offset += excess
            self._cost -= excess
            excess = 0
        if dropped:
            del self._blocks[:dropped]

    def read(self, offset: int) -> Piece | None:
        """What lies at an offset, or after it where that is not kept any more; None: nothing yet.

        Args:
            offset: at least 0.
        """
        start = max(offset, self.kept_from)
        if start >= self.written:
            return None
        at = bisect_right(self._blocks, start, key=lambda block: block.offset) - 1
        block = self._blocks[at]
        return Piece(start, block.source, bytes(block.data[start - block.offset :]), start - offset)
