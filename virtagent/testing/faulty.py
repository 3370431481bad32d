"""Channels that split, delay, drop, corrupt, duplicate, stall and cut: seeded, so that a failure can be played again.

The sans-I/O :class:`FaultyWire` serves tests of the protocol's core in a :class:`~virtagent.testing.clock.FakeClock`'s
time; :func:`faulty_pair` puts one under each direction of a channel in memory.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from virtagent.errors import UsageError
from virtagent.testing.memory import CAPACITY, FACTS, MemoryPair, Wire

__all__ = ["Faults", "FaultyPair", "FaultyWire", "faulty_pair"]

NO_PIECE = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What is wrong with a wire. Probabilities are per piece.

    Attributes:
        split: longest piece in bytes; 1 splits to single bytes, 0 not at all.
        delay: most seconds that a piece takes (evenly drawn); order is kept.
        drop, duplicate: probability that a piece is lost, or comes twice.
        corrupt: probability that one byte of a piece is changed.
        stall: probability that nothing passes for ``stall_seconds``.
        stall_seconds: how long that is.
    """

    split: int = 0
    delay: float = 0.0
    drop: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    stall: float = 0.0
    stall_seconds: float = 1.0

    def __post_init__(self) -> None:
        for name in ("drop", "duplicate", "corrupt", "stall"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is a probability of 0 to 1, not {getattr(self, name)!r}")

    @property
    def lossless(self) -> bool:
        """Whether all bytes arrive, unaltered."""
        return not (self.drop or self.duplicate or self.corrupt)


class FaultyWire(Wire):
    """One direction of a bad channel.

    The same seed and the same calls give the same faults.

    Args:
        faults: what is wrong; may be changed at any time through the attribute.
        seed: for the draws.

    Attributes:
        log: what was done to which piece: ``(time, what, bytes)``.
    """

    def __init__(self, faults: Faults | None = None, seed: int = 0) -> None:
        super().__init__()
        self.faults = faults or Faults()
        self.seed = seed
        self.log: list[tuple[float, str, int]] = []
        self._random = random.Random(seed)  # noqa: S311 - the same in every run is the point
        self._due: deque[tuple[float, bytes]] = deque()
        self._last_at = -math.inf
        self._stopped = False

    @property
    def next_at(self) -> float:
        return self._due[0][0] if self._due and not self._stopped else math.inf

    def send(self, data: bytes, now: float) -> None:
        for piece in self._split(data):
            self._send_piece(piece, now)

    def _split(self, data: bytes) -> Iterator[bytes]:
        most = self.faults.split or NO_PIECE
        position = 0
        while position < len(data):
            size = most if most in (1, NO_PIECE) else self._random.randint(1, most)
            yield data[position : position + size]
            position += size

    def _send_piece(self, piece: bytes, now: float) -> None:
        faults, draw = self.faults, self._random.random
        if faults.stall and draw() < faults.stall:
            self._last_at = max(self._last_at, now) + faults.stall_seconds
            self.log.append((now, "stall", len(piece)))
        if faults.drop and draw() < faults.drop:
            self.log.append((now, "drop", len(piece)))
            return
        if faults.corrupt and draw() < faults.corrupt:
            position = self._random.randrange(len(piece))
            changed = bytes([piece[position] ^ self._random.randint(1, 255)])
            piece = piece[:position] + changed + piece[position + 1 :]
            self.log.append((now, "corrupt", len(piece)))
        copies = 1
        if faults.duplicate and draw() < faults.duplicate:
            copies = 2
            self.log.append((now, "duplicate", len(piece)))
        at = now + faults.delay * draw() if faults.delay else now
        self._last_at = max(self._last_at, at)
        for _ in range(copies):
            self._due.append((self._last_at, piece))
            self.held += len(piece)

    def inject(self, data: bytes, now: float) -> None:
        """Bytes that nobody sent come out at the other end: noise, or a dead process's."""
        self.log.append((now, "inject", len(data)))
        self._last_at = max(self._last_at, now)
        self._due.append((self._last_at, data))
        self.held += len(data)

    def receive(self, now: float) -> list[bytes]:
        out = []
        while self._due and self._due[0][0] <= now and not self._stopped:
            piece = self._due.popleft()[1]
            self.held -= len(piece)
            out.append(piece)
        return out

    def clear(self) -> None:
        super().clear()
        self._due.clear()

    def stop(self) -> None:
        """Nothing passes until :meth:`release`; nothing is lost."""
        self._stopped = True

    def release(self) -> None:
        """What was stopped comes out."""
        self._stopped = False

    def heal(self) -> None:
        """From now on the wire is perfect; what was stopped or is delayed comes out now."""
        self.faults = Faults()
        self._stopped = False
        self._last_at = -math.inf
        self._due = deque((-math.inf, piece) for _, piece in self._due)


class FaultyPair(MemoryPair):
    """A :class:`MemoryPair` over two faulty wires.

    The n-th connection's wires have the seeds ``2 * (seed + n)`` and one more, so a run can be played again.
    """

    def __init__(self, facts: tuple[Any, Any], capacity: int, faults: Faults, seed: int) -> None:
        super().__init__(facts, capacity, self._make_faulty)
        self.faults = faults
        self._next_seed = 2 * seed

    def _make_faulty(self) -> FaultyWire:
        wire = FaultyWire(self.faults, self._next_seed)
        self._next_seed += 1
        return wire

    def _each(self) -> Iterator[FaultyWire]:
        for wire in self.wires or ():
            assert isinstance(wire, FaultyWire)
            yield wire

    def _changed(self) -> None:
        for end in self.ends or ():
            end.wire_changed()

    def stop(self) -> None:
        """Nothing passes until :meth:`release`; nothing is lost, and nobody is told."""
        for wire in self._each():
            wire.stop()

    def release(self) -> None:
        """What was stopped comes out."""
        for wire in self._each():
            wire.release()
        self._changed()

    def heal(self) -> None:
        """This connection and all later ones are perfect from now on."""
        self.faults = Faults()
        for wire in self._each():
            wire.heal()
        self._changed()


def faulty_pair(
    faults: Faults | None = None,
    *,
    seed: int = 0,
    facts_a: Any = FACTS,
    facts_b: Any = None,
    capacity: int = CAPACITY,
) -> FaultyPair:
    """A channel in memory with faults; see :func:`~virtagent.testing.memory.memory_pair`.

    Args:
        faults: what is wrong with both directions.
        seed: for the draws.
        facts_a, facts_b: what the two sides are told; by default as in ``memory_pair``.
        capacity: bytes under way in each direction.
    """
    if facts_b is None:
        facts_b = facts_a._replace(connecting=False)
    return FaultyPair((facts_a, facts_b), capacity, faults or Faults(), seed)
