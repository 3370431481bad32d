"""What the core tells the layer above, beside calls, requests and notifications (which are their own events)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virtagent.errors import SessionLost
    from virtagent.protocol.announcement import Agreement, Announcement

__all__ = ["GoodbyeDone", "Liveness", "Pong", "SessionEnded", "SessionUp", "Trouble"]


class Event:
    """Base of all: events are equal, and shown, by what they tell."""

    __slots__: tuple[str, ...] = ()

    def _told(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._told() == self._told()

    def __hash__(self) -> int:
        return hash((type(self), *self._told()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self._told()}"


class SessionUp(Event):
    """A session is established."""

    __slots__ = ("agreement", "peer")

    def __init__(self, peer: Announcement, agreement: Agreement) -> None:
        self.peer = peer
        self.agreement = agreement


class SessionEnded(Event):
    """The session is over; everything that was open in it has been reported before."""

    __slots__ = ("error",)

    def __init__(self, error: SessionLost) -> None:
        self.error = error


class Liveness(Event):
    """The peer has turned silent, or has come back (rule K2)."""

    __slots__ = ("silent",)

    def __init__(self, silent: bool) -> None:
        self.silent = silent


class GoodbyeDone(Event):
    """Our goodbye was acknowledged, or was not in time: then the tail of what we sent may be lost (rule G3)."""

    __slots__ = ("acknowledged",)

    def __init__(self, acknowledged: bool) -> None:
        self.acknowledged = acknowledged


class Pong(Event):
    """The answer to our ping; seconds between the two."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Trouble(Event):
    """Something a person should know; ``kind`` is one word for programs, ``text`` one line for people."""

    __slots__ = ("kind", "text")

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        self.text = text
