"""Streams as asyncio code sees them: async iterators, file-like reads and writes, back-pressure."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING, Any, Literal

from virtagent.errors import ResourceExhausted, StreamReset, UsageError, VirtagentError, error_to_wire
from virtagent.protocol.streams import Stream as ProtocolStream
from virtagent.protocol.streams import StreamTable

if TYPE_CHECKING:
    from types import TracebackType

    import msgpack

    from virtagent.peer.caller import Caller

__all__ = ["NewStream", "OutgoingStream", "Stream", "StreamCall", "StreamEnd"]

Kind = Literal["bytes", "items"]

NO_LONGER_WANTED = [1, "the reader no longer wants this stream", None]


class OutgoingStream:
    """An async iterable that goes to the peer as a stream: as an argument of a call, or as a handler's result.

    Attributes:
        source: gives the items, or the chunks of bytes. It is closed (``aclose``) however the stream ends.
        kind: ``bytes`` go as they are; ``items`` are encoded one by one (rule T3).
    """

    __slots__ = ("kind", "source")

    def __init__(self, source: AsyncIterable[Any], kind: Kind = "items") -> None:
        self.source = source
        self.kind: Kind = kind

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OutgoingStream) and (self.source, self.kind) == (other.source, other.kind)

    def __hash__(self) -> int:
        return hash((self.source, self.kind))


class NewStream:
    """A stream that opens when the message that carries this object is sent, for reading and writing by hand.

    Attributes:
        kind: ``bytes`` or ``items``.
        sends: this side will write.
        receives: this side will read.
        stream: the stream, once the message has been sent.
    """

    __slots__ = ("kind", "receives", "sends", "stream")

    def __init__(self, kind: Kind = "bytes", sends: bool = True, receives: bool = True) -> None:
        self.kind: Kind = kind
        self.sends = sends
        self.receives = receives
        self.stream: Stream | None = None


class StreamEnd(ProtocolStream):
    """The end of a stream that the session owns; the :class:`Stream` that user code holds refers to it.

    They are two objects so that a ``Stream`` which nobody holds any more can be noticed and reset.
    """

    def __init__(
        self, table: StreamTable, identifier: int, *, sends: bool, receives: bool, items: bool, priority: int
    ) -> None:
        super().__init__(table, identifier, sends=sends, receives=receives, items=items, priority=priority)
        self.chunks: deque[bytes | memoryview] = deque()
        self.ended = not self.receives
        self.error: VirtagentError | None = None
        self.taken = False
        self.pumped = False
        self.on_over: Any = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self.low = self._table.limits.send_buffer // 2
        self.high = self._table.limits.send_buffer
        self.item_limit = self._table.limits.message

    def reference(self) -> Stream:
        return Stream(self)

    @property
    def ending(self) -> bool:
        """Whether this side has written its last."""
        return self._end is not None

    def unpacker(self) -> msgpack.Unpacker:
        """A decoder for this stream's items."""
        return self._table.codec.unpacker(self.item_limit)

    def pack(self, item: Any) -> bytes:
        """Encode one item.

        Raises:
            UsageError: it cannot be sent.
        """
        return self._table.codec.pack(item)

    def on_data(self, data: bytes) -> None:
        self.chunks.append(data)
        self._wake_reader()

    def on_end(self, error: VirtagentError | None) -> None:
        self.ended = True
        self.error = error
        self._wake_reader()

    def on_reset(self, error: VirtagentError) -> None:
        self.fail(error)

    def fail(self, error: VirtagentError) -> None:
        """The stream is over: wake whoever waits; a reader still gets what came before."""
        if self.error is None:
            self.error = error
        self.ended = True
        self._wake_reader()
        self._wake_writer()
        if self.on_over is not None:
            self.on_over()

    def on_sent(self) -> None:
        if self.queued <= self.low:
            self._wake_writer()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _wake_writer(self) -> None:
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    async def wait_readable(self) -> None:
        """Wait for bytes, the end or an error."""
        if self._reader is not None:
            raise UsageError("two tasks read the same stream; let one read and share what it gets")
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    async def wait_writable(self) -> None:
        """Wait until what is queued is below the low mark, or the stream is over."""
        if self._writer is not None:
            raise UsageError("two tasks write the same stream; let one write for both")
        self._writer = asyncio.get_running_loop().create_future()
        try:
            await self._writer
        finally:
            self._writer = None


class Stream(AsyncIterator[Any]):
    """One open stream. ``async for`` gives chunks of bytes, or items; leaving ``async with`` ends it.

    Dropping it without reading it to its end resets it, with a ``ResourceWarning``.
    """

    __slots__ = ("_end", "_unpacker")

    def __init__(self, end: StreamEnd) -> None:
        self._end = end
        self._unpacker: msgpack.Unpacker | None = None

    @property
    def kind(self) -> Kind:
        """``bytes`` or ``items``."""
        return "items" if self._end.items else "bytes"

    @property
    def closed(self) -> bool:
        """Whether it is over in both directions."""
        return self._end.closed

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<Stream {self._end.identifier} of {self.kind}, {state}>"

    def __aiter__(self) -> Stream:
        self._end.taken = True
        return self

    async def __anext__(self) -> Any:
        """The next chunk of bytes, or the next item.

        Raises:
            StopAsyncIteration: the peer ended the stream.
            CallError, StreamReset, SessionLost: it failed; everything that came before has been given.
        """
        if self._end.items:
            return await self._next_item()
        chunk = await self._next_chunk()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def _next_chunk(self, most: int = sys.maxsize) -> bytes:
        end = self._end
        end.taken = True
        while not end.chunks:
            if end.ended:
                if end.error is not None:
                    raise end.error
                return b""
            await end.wait_readable()
        chunk = end.chunks.popleft()
        if len(chunk) > most:
            view = memoryview(chunk)  # a copy of the rest at each read would be quadratic
            end.chunks.appendleft(view[most:])
            chunk = view[:most]
        end.consume(len(chunk))
        return chunk if isinstance(chunk, bytes) else bytes(chunk)

    async def _next_item(self) -> Any:
        unpacker = self._unpacker
        if unpacker is None:  # not before: the end that only sends needs none
            unpacker = self._unpacker = self._end.unpacker()
        while True:
            try:
                return next(unpacker)
            except StopIteration:
                pass
            except ValueError as error:
                self._fail(f"the peer sent an item that cannot be decoded: {error}")
            chunk = await self._next_chunk()
            if not chunk:
                raise StopAsyncIteration
            try:
                unpacker.feed(chunk)
            except ValueError:
                self._fail(f"the peer sent an item of more than {self._end.item_limit} bytes")

    def _fail(self, text: str) -> None:
        self._end.reset([ResourceExhausted.code, text, None])
        raise StreamReset(text, code=ResourceExhausted.code)

    async def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes, as they come; ``b""`` at the end. With -1: all until the end.

        Raises:
            UsageError: this is a stream of items.
            CallError, StreamReset, SessionLost: it failed.

        Cancellation loses nothing: what has come is given to the next reader.
        """
        if self._end.items:
            raise UsageError("this is a stream of items; use 'async for'")
        if size < 0:
            return await self.read_all(limit=None)
        return await self._next_chunk(size) if size else b""

    async def read_all(self, limit: int | None = 64 * 1024 * 1024) -> bytes:
        """All bytes until the end.

        Args:
            limit: how many bytes to accept; None: any number.

        Raises:
            ResourceExhausted: there are more than ``limit``; the stream has been reset.
        """
        chunks = []
        total = 0
        while chunk := await self._next_chunk():
            total += len(chunk)
            if limit is not None and total > limit:
                await self.aclose()
                raise ResourceExhausted(f"the stream has more than {limit} bytes; read it piece by piece")
            chunks.append(chunk)
        return b"".join(chunks)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; waits while more than the send buffer's bound is queued.

        Raises:
            UsageError: this side does not send in this stream, or has ended it.
            CallError, StreamReset, SessionLost: the stream is over.
        """
        end = self._end
        end.taken = True
        if end.closed and end.error is not None:
            raise end.error
        if not end.sends:
            raise UsageError("this side cannot write to this stream, or has ended it")
        end.send(data if isinstance(data, bytes) else bytes(data))
        if end.queued > end.high:
            await end.wait_writable()
            if end.closed and end.error is not None:
                raise end.error

    async def write_item(self, item: Any) -> None:
        """Send one item of a stream of items; see :meth:`write`."""
        await self.write(self._end.pack(item))

    def end(self, error: BaseException | None = None) -> None:
        """Half-close: nothing more is written; the peer reads all that was, then the end, or the error (rule T7)."""
        self._end.taken = True
        self._end.end(None if error is None else error_to_wire(error))

    def reset(self, error: BaseException | None = None) -> None:
        """End both directions at once (rule T8)."""
        if not self._end.closed:
            self._end.reset(NO_LONGER_WANTED if error is None else error_to_wire(error))
            self._end.fail(StreamReset("this side ended the stream"))

    async def aclose(self) -> None:
        """End it: a direction that is written to is half-closed, one that is still read from is reset."""
        if self._end.closed:
            return
        if self._end.receives:
            self.reset()
        else:
            self.end()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.reset(error)
        await self.aclose()

    def __del__(self) -> None:
        end = self._end
        if not end.closed and (end.receives or not end.ending):
            end.reset(NO_LONGER_WANTED)
            if end.taken:
                warnings.warn(
                    f"stream {end.identifier} was dropped before its end; use 'async with' or aclose()",
                    ResourceWarning,
                    stacklevel=2,
                    source=self,
                )


class StreamCall(AsyncIterator[Any]):
    """A call that is answered with a stream; the call is made at the first use."""

    __slots__ = ("_args", "_caller", "_method", "_params", "_stream")

    def __init__(self, caller: Caller, method: str, args: tuple[Any, ...], params: dict[str, Any]) -> None:
        self._caller = caller
        self._method = method
        self._args = args
        self._params = params
        self._stream: Stream | None = None

    async def open(self) -> Stream:
        """Make the call, if it has not been made, and give its stream.

        Raises:
            CallError, DeadlineExceeded, SessionLost: as :meth:`Caller.call`.
            UsageError: the method answers with something else than a stream.
        """
        if self._stream is None:
            result = await self._caller.call(self._method, *self._args, **self._params)
            if not isinstance(result, Stream):
                raise UsageError(f"{self._method} answers with a value, not a stream; use call()")
            self._stream = result
        return self._stream

    def __aiter__(self) -> StreamCall:
        return self

    async def __anext__(self) -> Any:
        stream = self._stream or await self.open()
        return await stream.__anext__()

    async def read_all(self, limit: int | None = 64 * 1024 * 1024) -> bytes:
        """All bytes until the end; see :meth:`Stream.read_all`."""
        async with self:
            return await (await self.open()).read_all(limit)

    async def aclose(self) -> None:
        """End the stream; a no-op if the call was not made."""
        if self._stream is not None:
            await self._stream.aclose()

    async def __aenter__(self) -> Stream:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
