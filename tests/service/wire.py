"""A peer in miniature: what a stub sends goes through msgpack to a router, and back. Streams travel item by item."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, cast

import msgpack

from virtagent.errors import MethodNotFound, error_from_wire, error_to_wire
from virtagent.peer.caller import Caller
from virtagent.peer.context import Context
from virtagent.peer.handler import Handler, Params, Router
from virtagent.peer.stream import OutgoingStream, StreamCall
from virtagent.service.service import Service, handlers_of

STREAM = 1  # the ext type of rule T1


def context(method: str = "test.method", peer: Any = None, **kwargs: Any) -> Context:
    return Context(peer, method, lambda: 0.0, **kwargs)


def through_msgpack(value: Any) -> Any:
    """A value as it arrives at the other side (rules V1 to V5); streams become received ones."""
    sent: list[OutgoingStream] = []

    def encode(item: Any) -> Any:
        if isinstance(item, tuple):  # an array, but only msgpack's strict types keep structs and enums out
            return list(item)
        assert isinstance(item, OutgoingStream), f"{item!r} is not plain"
        sent.append(item)
        return msgpack.ExtType(STREAM, bytes([len(sent) - 1]))

    def decode(code: int, data: bytes) -> Any:
        return Received(sent[data[0]]) if code == STREAM else msgpack.ExtType(code, data)

    packed = msgpack.packb(value, default=encode, datetime=True, unicode_errors="surrogateescape", strict_types=True)
    return msgpack.unpackb(packed, timestamp=3, unicode_errors="surrogateescape", ext_hook=decode, strict_map_key=False)


class Received:
    """The receiving end of a stream."""

    def __init__(self, sent: OutgoingStream) -> None:
        self._sent = sent
        self._iterator = aiter(sent.source)
        self.entered = self.closed = False

    def __aiter__(self) -> Received:
        return self

    async def __anext__(self) -> Any:
        if self.closed:
            raise StopAsyncIteration
        item = await anext(self._iterator)
        assert self._sent.kind == "items" or isinstance(item, bytes)
        return through_msgpack(item)

    async def aclose(self) -> None:
        self.closed = True
        close = getattr(self._iterator, "aclose", None)
        if close is not None:
            await close()

    async def __aenter__(self) -> Received:
        self.entered = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def read_all(self, limit: int) -> Any:
        items = [item async for item in self]
        return b"".join(items) if self._sent.kind == "bytes" else items[:limit]


class StreamAnswer(AsyncIterator[Any]):
    """A call that is answered with a stream, made at its first use."""

    def __init__(self, wire: Wire, method: str, params: Params) -> None:
        self._wire, self._method, self._params = wire, method, params
        self.received: Received | None = None

    async def _opened(self) -> Received:
        if self.received is None:
            self.received = await self._wire.request(self._method, self._params)
            assert isinstance(self.received, Received)
        return self.received

    async def __anext__(self) -> Any:
        return await anext(await self._opened())

    async def __aenter__(self) -> StreamAnswer:
        await (await self._opened()).__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await (await self._opened()).aclose()

    async def read_all(self, limit: int) -> Any:
        return await (await self._opened()).read_all(limit)


class Wire(Caller):
    """Calls the handlers of a router. ``sent`` records what went over the wire."""

    def __init__(self, *services: Service, handlers: Iterable[Handler] = ()) -> None:
        self.router = Router([*handlers, *(each for service in services for each in handlers_of(service))])
        self.sent: list[tuple[str, Params]] = []
        self.notified: list[tuple[str, Params]] = []

    def __repr__(self) -> str:
        return "<wire>"

    async def request(self, method: str, params: Params) -> Any:
        self.sent.append((method, params))
        try:
            result = await self._serve(method, through_msgpack(params))
        except Exception as error:
            raise error_from_wire(through_msgpack(error_to_wire(error))) from error
        return through_msgpack(result)

    async def _serve(self, method: str, params: Params) -> Any:
        handler = self.router.get(method)
        if handler is None:
            raise MethodNotFound(method)
        if handler.mode == "thread":
            return await asyncio.to_thread(handler.invoke, context(method, self), params)
        result = handler.invoke(context(method, self), params)
        return await result if handler.mode == "task" else result

    async def call(self, method: str, /, *args: Any, **params: Any) -> Any:
        return await self.request(method, list(args) or params)

    def notify(self, method: str, /, *args: Any, **params: Any) -> None:
        self.notified.append((method, through_msgpack(list(args) or params)))

    def stream(self, method: str, /, *args: Any, **params: Any) -> StreamCall:
        return cast(StreamCall, StreamAnswer(self, method, list(args) or params))


class Canned(Caller):
    """A peer that answers everything with the same, whatever was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def call(self, method: str, /, *args: Any, **params: Any) -> Any:
        return through_msgpack(self.answer)

    def notify(self, method: str, /, *args: Any, **params: Any) -> None:
        raise NotImplementedError

    def stream(self, method: str, /, *args: Any, **params: Any) -> StreamCall:
        return cast(StreamCall, Received(OutgoingStream(self.answer)))
