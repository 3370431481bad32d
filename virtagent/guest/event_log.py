"""What happened in the guest: numbered, and kept for those who come back."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

__all__ = ["EventLog", "LoggedEvent"]

KEPT = 1024
"""Events that are kept at most."""


class LoggedEvent(NamedTuple):
    """One event.

    Attributes:
        number: counts from 1 in one run of the agent.
        kind: such as "mount.added".
        fields: plain data.
    """

    number: int
    kind: str
    fields: dict[str, Any]


class EventLog:
    """The last events of this run of the agent."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept: deque[LoggedEvent] = deque(maxlen=kept)
        self.last = 0

    def publish(self, kind: str, **fields: Any) -> None:
        """Something happened."""
        self.last += 1
        self._kept.append(LoggedEvent(self.last, kind, fields))
