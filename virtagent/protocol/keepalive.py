"""Signs of life: what this side promises, and how the peer is judged by its own (docs/protocol.md, section K)."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["DEFAULT_INTERVAL", "Keepalive"]

DEFAULT_INTERVAL: Final = 5.0
"""Seconds: a person who waits for a dead guest learns it in 15; 1,000 idle guests cost 200 frames a second."""

MISSES: Final = 3
"""How many of its own intervals a peer may stay quiet (rule K2)."""


class Keepalive:
    """When to send a sign of life, and when the peer counts as silent.

    Args:
        interval: seconds that this side promised at most to stay quiet; 0: no promise.
        peer_interval: what the peer promised; 0: it never counts as silent.
        lost_after: seconds of silence after which the session is given up, or None (rule K5).
        now: the time.

    Attributes:
        last_sent, last_received: when frames last went and came; the connection writes them.
        silent: the peer is silent.
    """

    __slots__ = ("_interval", "_lost_after", "_peer_interval", "last_received", "last_sent", "silent")

    def __init__(self, interval: float, peer_interval: float, now: float, *, lost_after: float | None = None) -> None:
        self._interval = interval
        self._peer_interval = peer_interval
        self._lost_after = lost_after
        self.last_sent = now
        self.last_received = now
        self.silent = False

    def next_timer(self) -> float:
        """When :meth:`handle_timer` wants to be called; ``math.inf``: never."""
        due = self.last_sent + self._interval if self._interval else math.inf
        if self._peer_interval:
            if not self.silent:
                due = min(due, self.last_received + MISSES * self._peer_interval)
            elif self._lost_after is not None:
                due = min(due, self.last_received + self._patience(self._lost_after))
        return due

    def _patience(self, lost_after: float) -> float:
        """Seconds without a sign of life after which the session is given up: never before the peer is silent."""
        return max(lost_after, MISSES * self._peer_interval)

    def received(self, now: float) -> bool:
        """A valid frame came; True if that ends a silence."""
        self.last_received = now
        if self.silent:
            self.silent = False
            return True
        return False

    def wants_to_send(self, now: float) -> bool:
        """Whether a sign of life is due (rule K1)."""
        return bool(self._interval) and now >= self.last_sent + self._interval

    def judge(self, now: float) -> bool:
        """Judge the peer; True if it has just turned silent (rule K2).

        A timer that comes more than one interval late is no evidence: this process was stopped (rule K3).
        """
        if not self._peer_interval or self.silent:
            return False
        limit = self.last_received + MISSES * self._peer_interval
        if now < limit:
            return False
        if now - limit > self._peer_interval:
            self.last_received = now - (MISSES - 1) * self._peer_interval
            return False
        self.silent = True
        return True

    def is_lost(self, now: float) -> bool:
        """Whether the silence has lasted so long that the session is given up (rule K5); K3 holds here too."""
        if not self.silent or self._lost_after is None:
            return False
        patience = self._patience(self._lost_after)
        late = now - (self.last_received + patience)
        if late > self._peer_interval:
            self.last_received = now - patience + self._peer_interval
            return False
        return late >= 0
