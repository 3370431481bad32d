"""What the core tells the layer above, beside calls, requests and notifications (which are their own events)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtagent.errors import SessionLost
    from virtagent.protocol.announcement import Agreement, Announcement

__all__ = ["GoodbyeDone", "Liveness", "Pong", "SessionEnded", "SessionUp", "Trouble"]


@dataclass(frozen=True, slots=True)
class SessionUp:
    """A session is established."""

    peer: Announcement
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The session is over; everything that was open in it has been reported before."""

    error: SessionLost


@dataclass(frozen=True, slots=True)
class Liveness:
    """The peer has turned silent, or has come back (rule K2)."""

    silent: bool


@dataclass(frozen=True, slots=True)
class GoodbyeDone:
    """Our goodbye was acknowledged, or was not in time: then the tail of what we sent may be lost (rule G3)."""

    acknowledged: bool


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to our ping; seconds between the two."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something a person should know; ``kind`` is one word for programs, ``text`` one line for people."""

    kind: str
    text: str
