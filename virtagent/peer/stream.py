"""Streams as asyncio code sees them."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["OutgoingStream", "StreamCall"]


@dataclass(frozen=True, slots=True)
class OutgoingStream:
    """An async iterable that goes to the peer as a stream: as an argument of a call, or as a handler's result.

    Attributes:
        source: gives the items, or the chunks of bytes. It is closed (``aclose``) when the stream ends for whatever reason.
        kind: ``bytes`` go as they are; ``items`` are encoded one by one (rule T3).
    """

    source: AsyncIterable[Any]
    kind: Literal["bytes", "items"] = "items"


class StreamCall(AsyncIterator[Any]):
    """A call that is answered with a stream."""

    async def aclose(self) -> None:
        raise NotImplementedError
