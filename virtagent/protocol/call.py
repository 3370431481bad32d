"""A call from its start to its end, on either side of it (docs/protocol.md, section C)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from virtagent.errors import PeerGone, SessionLost
from virtagent.protocol.codec import Codec
from virtagent.protocol.schedule import NORMAL, Outgoing
from virtagent.protocol.streams import Stream

if TYPE_CHECKING:
    from virtagent.protocol.rpc import CallTable

__all__ = ["METADATA", "NO_METADATA", "Call", "Notification", "Request", "RequestEnded"]

NO_METADATA: Final[Mapping[str, Any]] = {}

METADATA: Final = Codec()
"""Metadata is plain data: it opens no streams."""

FIVE_ELEMENTS: Final = b"\x95"


class RequestEnded(Enum):
    """Why the peer's request ended before its handler did."""

    CANCELLED = 1
    DEADLINE = 4
    SESSION_LOST = 14


class Call(Outgoing):
    """A call of ours, from its start to its end. It is its own event once it has ended.

    Attributes:
        identifier: the request's id.
        method: the method's name, for messages to people.
        deadline: when it fails, on the connection's clock; ``math.inf``: never.
        priority: its class.
        result, error: how it ended; ``error`` None is success.
        has_left: the whole request was handed to the channel: it may have run (rule D5).
        waiter: whatever the caller wants to keep here.
        streams: streams that its params open.
        scheduled: its deadline is among those of the table.
    """

    priority = NORMAL
    metadata: dict[str, Any] | None = None
    streams: list[Stream] | None = None
    has_left = False
    scheduled = False
    waiter: Any = None
    result: Any = None
    error: Exception | None = None

    def __init__(self, identifier: int, method: str, data: bytes, deadline: float) -> None:
        self.data = data
        self.identifier = identifier
        self.method = method
        self.deadline = deadline

    def take(self, now: float) -> bytes | None:
        """The request, with the time that remains (rule D2) where the peer could not know it."""
        data = self.data
        if data is None or self.metadata is None:
            return data
        metadata = dict(self.metadata)
        if "deadline" in metadata:
            remaining = self.deadline - now
            metadata["deadline"] = None if remaining == math.inf else max(1, int(remaining * 1000))
        return b"".join((FIVE_ELEMENTS, data[1:], METADATA.pack(metadata)))

    def left(self) -> None:
        self.has_left = True
        if self.streams is not None:
            for stream in self.streams:
                stream.opened()

    def lost(self, error: SessionLost) -> None:
        """The session ended; say whether the request may have run (rule D5)."""
        text = f"{self.method}: {error}"
        if isinstance(error, PeerGone):
            self.error = PeerGone(text, reason=error.reason, may_have_run=self.has_left)
        else:
            self.error = SessionLost(text, may_have_run=self.has_left)


class Request(Outgoing):
    """A call of the peer, until its response has left (rule C5).

    Attributes:
        identifier: the request's id.
        method, params, metadata: as they came.
        deadline: by when the answer is wanted, on the connection's clock; ``math.inf``: whenever.
        priority: its class.
        depth: how deep it is nested (rule C6).
        streams: streams that its params opened.
        opens: streams that its response opens.
        started: its handler runs; set by whoever starts it.
        answered: the response has been given.
        handle: whatever the side that runs the handler wants to keep here.
        scheduled: its deadline is among those of the table.
    """

    metadata: Mapping[str, Any] = NO_METADATA
    priority = NORMAL
    depth = 0
    streams: list[Stream] | None = None
    opens: list[Stream] | None = None
    started = False
    answered = False
    scheduled = False
    handle: Any = None

    def __init__(self, table: CallTable, identifier: int, method: str, params: Any, deadline: float) -> None:
        self.data = None
        self._table = table
        self.identifier = identifier
        self.method = method
        self.params = params
        self.deadline = deadline

    def left(self) -> None:
        self._table.unsent_answers -= 1
        if self.opens is not None:
            for stream in self.opens:
                stream.opened()


class Notification(Outgoing):
    """A notification, of ours (``data``) or of the peer (``method``, ``params``, ``metadata``)."""

    def __init__(
        self,
        data: bytes | None,
        method: str = "",
        params: Any = None,
        metadata: Mapping[str, Any] = NO_METADATA,
        streams: list[Stream] | None = None,
    ) -> None:
        self.data = data
        self.method = method
        self.params = params
        self.metadata = metadata
        self.streams = streams

    def left(self) -> None:
        if self.streams is not None:
            for stream in self.streams:
                stream.opened()
