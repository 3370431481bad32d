"""Typed streams: items of a received stream checked one by one, items of a sent one made plain."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from virtagent.errors import CallError, ResourceExhausted, UsageError
from virtagent.peer.stream import OutgoingStream
from virtagent.service.annotation import REFUSALS, converter, plainer, type_name
from virtagent.service.signature import StreamKind

__all__ = ["TypedStream", "outgoing", "typed"]

T = TypeVar("T")


async def _close(source: Any) -> None:
    aclose = getattr(source, "aclose", None)
    if aclose is not None:
        await aclose()


class TypedStream(AsyncIterator[T], Generic[T]):
    """A stream whose items are converted as they are taken; leaving an ``async with`` block, or ``aclose``, ends it.

    Stubs give it where their interface says ``AsyncIterator[T]``; :meth:`of` tells a type checker so.
    """

    __slots__ = ("_convert", "_iterator", "_source")

    def __init__(self, source: AsyncIterable[Any], convert: Callable[[Any], Any]) -> None:
        self._source = source
        self._iterator: AsyncIterator[Any] | None = None
        self._convert = convert

    @classmethod
    def of(cls, source: AsyncIterable[T]) -> TypedStream[T]:
        """The stream itself where it is one already, else a stream over any async iterable."""
        return source if isinstance(source, TypedStream) else cls(source, lambda item: item)

    def __aiter__(self) -> TypedStream[T]:
        return self

    async def __anext__(self) -> T:
        """The next item.

        Raises:
            CallError: the item is not of the stated type; the stream is ended.
        """
        if self._iterator is None:
            self._iterator = aiter(self._source)
        item = await anext(self._iterator)
        try:
            return cast(T, self._convert(item))
        except CallError:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """End the stream. What has not been taken is dropped. Closing twice does nothing."""
        await _close(self._source if self._iterator is None else self._iterator)

    async def __aenter__(self) -> TypedStream[T]:
        enter = getattr(self._source, "__aenter__", None)
        if enter is not None:
            await enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leave = getattr(self._source, "__aexit__", None)
        if leave is not None:
            await leave(kind, error, trace)
        else:
            await self.aclose()

    async def read_all(self, limit: int | None = 64 * 1024 * 1024) -> bytes:
        """All bytes of a stream of bytes; the stream is ended, however this goes.

        Args:
            limit: how many bytes to accept; None: any number.

        Raises:
            ResourceExhausted: there are more than ``limit``.
            UsageError: it is a stream of items; ``[item async for item in stream]`` reads those.
        """
        chunks: list[bytes] = []
        total = 0
        async with self:
            async for chunk in self:
                if not isinstance(chunk, bytes):
                    raise UsageError("this is a stream of items; use 'async for'")
                total += len(chunk)
                if limit is not None and total > limit:
                    raise ResourceExhausted(f"the stream has more than {limit} bytes; read it piece by piece")
                chunks.append(chunk)
        return b"".join(chunks)

    def __repr__(self) -> str:
        return f"<TypedStream over {self._source!r}>"


def typed(annotation: Any, refuse: Callable[[str], CallError]) -> Callable[[AsyncIterable[Any]], TypedStream[Any]]:
    """A function that wraps received streams so that their items have the annotated type.

    Args:
        annotation: the type of an item.
        refuse: makes the error for an item of another type, from "expected int, got str".
    """
    to_type = converter(annotation)
    expected = f"expected items of {type_name(annotation)}"

    def convert(item: Any) -> Any:
        try:
            return to_type(item)
        except REFUSALS:
            raise refuse(f"{expected}, got {type(item).__name__}") from None

    return lambda source: TypedStream(source, convert)


class _PlainItems(AsyncIterator[Any]):
    """The items of a source made plain; closing it closes the source."""

    __slots__ = ("_iterator", "_plain")

    def __init__(self, source: AsyncIterable[Any], plain: Callable[[Any], Any]) -> None:
        self._iterator = aiter(source)
        self._plain = plain

    async def __anext__(self) -> Any:
        return self._plain(await anext(self._iterator))

    async def aclose(self) -> None:
        await _close(self._iterator)


def outgoing(annotation: Any, kind: StreamKind) -> Callable[[Any], OutgoingStream]:
    """A function that makes a source of items of the annotated type ready to be sent."""
    plain = plainer(annotation)

    def make(source: Any) -> OutgoingStream:
        if isinstance(source, OutgoingStream):
            return source
        return OutgoingStream(source if plain is None else _PlainItems(source, plain), kind)

    return make
