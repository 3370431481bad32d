from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from virtagent.errors import InvalidArgument, StreamReset
from virtagent.peer.stream import OutgoingStream
from virtagent.service.streams import TypedStream, outgoing, typed


class Item(msgspec.Struct):
    x: int


class Source:
    """An async iterator that records how it was ended."""

    def __init__(self, *items: Any, error: Exception | None = None) -> None:
        self._items = iter(items)
        self._error = error
        self.closed = 0

    def __aiter__(self) -> Source:
        return self

    async def __anext__(self) -> Any:
        for item in self._items:
            return item
        raise self._error or StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1


def received(*items: Any, error: Exception | None = None) -> tuple[TypedStream[Item], Source]:
    source = Source(*items, error=error)
    return typed(Item, InvalidArgument)(source), source


async def test_items_are_converted_as_they_are_taken() -> None:
    stream, _ = received({"x": 1}, {"x": 2})
    assert [item async for item in stream] == [Item(1), Item(2)]


async def test_an_item_of_another_type_ends_the_stream_at_its_source() -> None:
    stream, source = received({"x": 1}, {"x": "one"})
    assert await anext(stream) == Item(1)
    with pytest.raises(InvalidArgument, match="expected items of Item, got dict"):
        await anext(stream)
    assert source.closed == 1


async def test_an_error_of_the_stream_passes_through() -> None:
    stream, _ = received(error=StreamReset("reset", code=5))
    with pytest.raises(StreamReset):
        await anext(stream)


async def test_leaving_the_block_closes_a_source_that_has_no_block_of_its_own() -> None:
    stream, source = received({"x": 1})
    async with stream as same:
        assert same is stream
    assert source.closed == 1


async def test_closing_a_stream_over_something_without_aclose_does_nothing() -> None:
    class Bare:
        def __aiter__(self) -> AsyncIterator[int]:
            return self

        async def __anext__(self) -> int:
            return 1

    stream = TypedStream.of(Bare())
    assert await anext(stream) == 1
    await stream.aclose()
    assert "Bare" in repr(stream)


async def test_a_stream_of_a_stream_is_itself() -> None:
    stream, _ = received()
    assert TypedStream.of(stream) is stream


async def test_items_that_are_sent_are_made_plain_and_closing_closes_the_source() -> None:
    source = Source(Item(1))
    sent = outgoing(Item, "items")(source)
    assert sent.kind == "items"
    iterator: Any = aiter(sent.source)
    assert await anext(iterator) == {"x": 1}
    await iterator.aclose()
    assert source.closed == 1


def test_plain_sources_and_streams_made_by_hand_are_sent_as_they_are() -> None:
    source: Any = Source()
    assert outgoing(bytes, "bytes")(source) == OutgoingStream(source, "bytes")
    by_hand = OutgoingStream(source)
    assert outgoing(bytes, "bytes")(by_hand) is by_hand
