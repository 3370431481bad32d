"""Streams between two peers: items and bytes, both ways, back-pressure, ends of all kinds."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from virtagent.errors import (
    InternalError,
    InvalidArgument,
    NotFound,
    PeerGone,
    ResourceExhausted,
    SessionLost,
    StreamReset,
    UsageError,
)
from virtagent.peer.context import Context
from virtagent.peer.options import PeerOptions
from virtagent.peer.peer import Peer
from virtagent.peer.stream import NewStream, OutgoingStream, Stream
from virtagent.protocol.limits import Limits
from virtagent.testing import memory_pair, peer_pair
from virtagent_transports import ChannelFacts

from .support import ECHO, Gate, count_up, handler, is_idle, until, virtual_loop

SMALL = PeerOptions(limits=Limits(window=1000, largest_window=1000, send_buffer=2000, surplus=0))


class Source:
    """A handler that answers with a stream, and tells how far it came and whether its finally ran."""

    def __init__(self, pieces: Callable[[], AsyncIterator[Any]], kind: Any = "items") -> None:
        self.given = 0
        self.finished = asyncio.Event()
        self._pieces = pieces
        self.handler = handler(lambda _: OutgoingStream(self._give(), kind), "source")

    async def _give(self) -> AsyncIterator[Any]:
        try:
            async for piece in self._pieces():
                self.given += 1
                yield piece
        finally:
            self.finished.set()


async def chunks(count: int, size: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number % 256]) * size


async def one(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


async def test_items_arrive_in_order_and_end() -> None:
    """Rules T3, T7."""
    source = Source(lambda: count_up(end=5000))
    async with peer_pair([source.handler], [source.handler]) as (a, b):
        assert [item async for item in a.stream("source")] == list(range(5000))
        assert source.finished.is_set()
        async with b.stream("source") as stream:
            assert stream.kind == "items"
            assert [item async for item in stream] == list(range(5000))
        await until(lambda: is_idle(a, b))


async def test_bytes_arrive_as_they_are() -> None:
    """Rules T3, T4."""
    source = Source(lambda: chunks(300, 10_000), "bytes")
    async with peer_pair(handlers_b=[source.handler]) as (a, b):
        data = await a.stream("source").read_all()
        assert data == b"".join([bytes([number % 256]) * 10_000 for number in range(300)])
        async with a.stream("source") as stream:
            assert await stream.read(3) == b"\0\0\0"
            assert await stream.read(0) == b""
            assert len(await stream.read()) == 3_000_000 - 3
            assert await stream.read(1) == b""
        with pytest.raises(ResourceExhausted, match="more than 1000 bytes"):
            await a.stream("source").read_all(limit=1000)
        await until(lambda: is_idle(a, b))


async def test_bytes_are_read_in_pieces_of_any_size() -> None:
    """What is left of a chunk is not copied at each read, which would be quadratic."""
    data = bytes(range(250)) * 200
    source = Source(lambda: one(data), "bytes")
    async with peer_pair([], [source.handler]) as (a, _), a.stream("source") as stream:
        first = await stream.read(1)
        tracemalloc.start()
        try:
            pieces = [await stream.read(16) for _ in range(500)]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert sum(map(len, pieces)) == 8000
        assert peak < 500 * 16 * 10
        pieces += [await stream.read(3), await stream.__anext__(), await stream.read_all()]
        assert all(type(piece) is bytes for piece in pieces)
        assert b"".join([first, *pieces]) == data


async def test_a_stream_of_items_has_a_decoder_only_where_items_are_read() -> None:
    """There may be a thousand such streams, and a decoder has a buffer."""
    held: list[Stream] = []
    async with peer_pair([], [handler(lambda _, stream: held.append(aiter(stream)), "hold")]) as (a, _):
        new = NewStream("items", receives=False)
        await a.call("hold", new)
        assert new.stream is not None
        await new.stream.write_item("an item")
        ends = [new.stream, held[0]]
        assert [end._unpacker is None for end in ends] == [True, True]
        assert await held[0].__anext__() == "an item"
        assert [end._unpacker is None for end in ends] == [True, False]
        await new.stream.aclose()


async def test_a_slow_reader_holds_the_writer_and_bounds_its_memory() -> None:
    """Rules T4, T5: credit, not luck."""
    source = Source(lambda: chunks(1000, 500), "bytes")
    async with peer_pair(handlers_b=[source.handler], options=SMALL) as (a, b):
        async with a.stream("source") as stream:
            await asyncio.sleep(60)
            given = source.given
            assert given * 500 <= 1000 + 2000 + 2 * 500
            assert sum(map(len, stream._end.chunks)) <= 1000
            await stream.read(500)
            await stream.read(500)
            await asyncio.sleep(1)
            assert given < source.given
            assert source.given * 500 <= 1000 + 1000 + 2000 + 2 * 500
            rest = await stream.read()
        assert len(rest) == 499_000
        await until(lambda: is_idle(a, b))


async def test_an_unread_stream_blocks_neither_calls_nor_other_streams() -> None:
    """Rule T10."""
    source = Source(lambda: chunks(1000, 500), "bytes")
    async with peer_pair(handlers_b=[source.handler, ECHO], options=SMALL) as (a, b):
        async with a.stream("source"), a.stream("source") as other:
            await asyncio.sleep(1)
            assert await a.call("echo", 1) == 1
            assert len(await other.read()) == 500_000
        await until(lambda: is_idle(a, b))


async def test_an_error_in_the_middle_comes_after_the_data_before_it(caplog: pytest.LogCaptureFixture) -> None:
    """Rule T7; E1: of an unforeseen error the class name only."""

    async def broken(error: Exception) -> AsyncIterator[int]:
        yield 1
        yield 2
        raise error

    error: Exception = NotFound("the third")
    async with peer_pair(handlers_b=[handler(lambda _: OutgoingStream(broken(error)), "source")]) as (a, b):
        for error, expected in (  # noqa: B007 - the handler raises it
            (NotFound("the third"), NotFound),
            (ValueError("hunter2"), InternalError),
        ):
            stream = a.stream("source")
            assert [await anext(stream), await anext(stream)] == [1, 2]
            with pytest.raises(expected) as caught:
                await anext(stream)
            assert "hunter2" not in str(caught.value)
        await until(lambda: is_idle(a, b))
    assert "hunter2" in caplog.text


async def test_leaving_the_block_early_ends_the_generator_at_the_other_side() -> None:
    """Rule T8."""
    source = Source(count_up)
    async with peer_pair(handlers_b=[source.handler]) as (a, b):
        async with a.stream("source") as stream:
            async for item in stream:
                if item == 10:
                    break
        await source.finished.wait()
        await until(lambda: is_idle(a, b))


async def test_a_stream_that_is_dropped_is_reset_and_warned_about() -> None:
    """Rule T8."""
    source = Source(count_up)
    async with peer_pair(handlers_b=[source.handler]) as (a, b):
        stream = await a.stream("source").open()
        assert await anext(stream) == 0
        with pytest.warns(ResourceWarning, match="dropped before its end"):  # noqa: PT031
            del stream
            gc.collect()
        await source.finished.wait()
        await until(lambda: is_idle(a, b))


async def test_a_stream_in_an_answer_that_nobody_takes_is_reset_without_a_word() -> None:
    """Rule T11."""
    source = Source(count_up)
    async with peer_pair(handlers_b=[source.handler]) as (a, b):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await a.call("source")
            gc.collect()
        await source.finished.wait()
        await until(lambda: is_idle(a, b))


async def test_a_stream_goes_up_as_an_argument() -> None:
    """Rules T1, T2, P8: the data follows the request."""

    async def total(_: Context, name: str, data: Stream) -> Any:
        async with data:
            return [name, len(await data.read_all())]

    async def add(_: Context, numbers: Stream) -> int:
        return sum([number async for number in numbers])

    async with peer_pair(handlers_b=[handler(total), handler(add)]) as (a, b):
        assert await a.call("total", name="x", data=OutgoingStream(chunks(100, 9999), "bytes")) == ["x", 999_900]
        assert await a.call("add", OutgoingStream(count_up(end=101))) == 5050
        await until(lambda: is_idle(a, b))


async def test_an_upload_that_nobody_takes_is_reset_and_its_source_closed() -> None:
    """Rules C2, T11: whatever way the call fails."""
    closed: list[str] = []

    async def source(name: str) -> AsyncIterator[int]:
        try:
            async for number in count_up():
                yield number
        finally:
            closed.append(name)

    def refuse(_: Context, stream: Stream) -> None:
        raise InvalidArgument("not now")

    async def ignore(_: Context, stream: Stream) -> str:
        return "did not look"

    async with peer_pair(handlers_b=[handler(refuse), handler(ignore)]) as (a, b):
        with pytest.raises(InvalidArgument):
            await a.call("refuse", OutgoingStream(source("refused")))
        assert await a.call("ignore", OutgoingStream(source("ignored"))) == "did not look"
        with pytest.raises(Exception, match="no method"):
            await a.call("not.there", OutgoingStream(source("not there")))
        a.notify("not.there", OutgoingStream(source("notified")))
        await until(lambda: is_idle(a, b))
        with pytest.raises(UsageError):
            await a.call("refuse", OutgoingStream(source("unsent")), object())
        await until(lambda: is_idle(a, b))
    assert set(closed) <= {"refused", "ignored", "not there", "notified"}


async def test_a_call_that_times_out_unsent_takes_its_upload_with_it() -> None:
    """Rules C8, T11: the stream was never opened at the other side."""
    pair = memory_pair(capacity=10)

    async with peer_pair(handlers_b=[ECHO], pair=pair) as (a, b):
        assert pair.ends is not None
        pair.ends[1].pause_reading()
        a.notify("echo", bytes(300_000))
        await asyncio.sleep(0)
        with pytest.raises(Exception, match="could not be sent"):
            await a.with_options(deadline=1).call("echo", OutgoingStream(count_up()))
        pair.ends[1].resume_reading()
        await a.call("echo")
        await until(lambda: is_idle(a, b))


async def test_a_duplex_stream_is_written_and_read_by_hand_with_half_close() -> None:
    """Rules T1, T7."""

    async def upper(_: Context, stream: Stream) -> str:
        async for chunk in stream:
            await stream.write(chunk.upper())
        stream.end()
        return "done"

    async with peer_pair(handlers_b=[handler(upper)]) as (a, b):
        new = NewStream("bytes")
        call = asyncio.create_task(a.call("upper", new))
        await until(lambda: new.stream is not None)
        assert new.stream is not None
        async with new.stream as stream:
            await stream.write(b"hello")
            assert await stream.read(100) == b"HELLO"
            await stream.write(bytearray(b" again"))
            stream.end()
            assert await stream.read() == b" AGAIN"
            with pytest.raises(UsageError, match="cannot write"):
                await stream.write(b"too late")
        assert await call == "done"
        await until(lambda: is_idle(a, b))


async def test_a_handler_that_only_writes_into_a_stream_has_taken_it() -> None:
    """Rule T11: its data arrives although the handler has returned."""

    async def fill(_: Context, stream: Stream) -> str:
        await stream.write(b"x" * 100)
        stream.end()
        return "written"

    async with peer_pair(handlers_b=[handler(fill)]) as (a, b):
        new = NewStream("bytes", sends=False)
        assert await a.call("fill", new) == "written"
        assert new.stream is not None
        assert await new.stream.read() == b"x" * 100
        await until(lambda: is_idle(a, b))


async def test_a_stream_for_writing_that_is_dropped_unended_is_reset() -> None:
    """Rule T8: its reader would wait for ever."""
    kept: list[Stream] = []

    async def take(_: Context, stream: Stream) -> None:
        await stream.write(b"some")
        kept.append(stream)

    async with peer_pair(handlers_b=[handler(take)]) as (a, b):
        new = NewStream("bytes", sends=False)
        await a.call("take", new)
        assert new.stream is not None
        assert await new.stream.read(10) == b"some"
        with pytest.warns(ResourceWarning, match="dropped before its end"):  # noqa: PT031
            kept.clear()
            gc.collect()
        with pytest.raises(Exception, match="no longer wants"):
            await new.stream.read(10)
        await until(lambda: is_idle(a, b))


async def test_items_are_written_one_by_one_and_an_end_may_carry_an_error() -> None:
    """Rules T3, T7."""

    async def take(_: Context, stream: Stream) -> Any:
        seen = []
        try:
            async for item in stream:
                seen.append(item)  # noqa: PERF401 - what came before the error counts
        except NotFound as error:
            return [seen, error.message]

    async with peer_pair(handlers_b=[handler(take)]) as (a, b):
        new = NewStream("items", receives=False)
        call = asyncio.create_task(a.call("take", new))
        await until(lambda: new.stream is not None)
        assert new.stream is not None
        with pytest.raises(UsageError):
            await new.stream.read(1)
        await new.stream.write_item({"n": 1})
        await new.stream.write_item([2])
        new.stream.end(NotFound("no third"))
        assert await call == [[{"n": 1}, [2]], "no third"]
        await until(lambda: is_idle(a, b))


async def test_two_readers_of_one_stream_are_refused() -> None:
    gate = Gate()

    async def never() -> AsyncIterator[int]:
        await gate.open.wait()
        yield 1

    async with (
        peer_pair(handlers_b=[handler(lambda _: OutgoingStream(never()), "source")]) as (a, _),
        a.stream("source") as stream,
    ):
        reader = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        with pytest.raises(UsageError, match="two tasks read"):
            await anext(stream)
        reader.cancel()
        await asyncio.wait([reader])
        gate.open.set()
        assert await anext(stream) == 1


async def test_a_stream_outlives_the_deadline_of_its_call() -> None:
    """Rule D6."""

    async def slow() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(60)
            yield number

    async with peer_pair(handlers_b=[handler(lambda _: OutgoingStream(slow()), "source")]) as (a, _):
        assert [item async for item in a.with_options(deadline=1).stream("source")] == [0, 1, 2]


async def test_a_stream_ends_with_its_session_after_the_data_that_came() -> None:
    """Rule G5."""
    source, pair = Source(count_up), memory_pair()
    async with peer_pair(handlers_b=[source.handler], pair=pair) as (a, b):
        async with a.stream("source") as stream:
            assert await anext(stream) == 0
            pair.cut()
            await source.finished.wait()
            with pytest.raises(SessionLost):
                async for _ in stream:
                    pass
        await until(lambda: is_idle(a, b))


async def test_a_goodbye_ends_streams_with_its_reason() -> None:
    """Rules G1, G2, G5."""
    source = Source(count_up)
    options = PeerOptions(drain=0.1)
    async with peer_pair(handlers_b=[source.handler], options=options) as (a, b), a.stream("source") as stream:
        assert await anext(stream) == 0
        await b.aclose("reboot")
        with pytest.raises(PeerGone) as caught:
            async for _ in stream:
                pass
        assert caught.value.reason == "reboot"


async def test_more_streams_than_the_peer_takes_are_refused() -> None:
    """Rules T9, L1."""
    source = Source(count_up)
    few = PeerOptions(limits=Limits(streams=2))
    async with peer_pair([ECHO], [source.handler], options_a=few) as (a, b):
        async with a.stream("source"), a.stream("source"):
            with pytest.raises(Exception, match="open streams"):
                await a.call("source")
            assert await b.call("echo", 1) == 1
        await until(lambda: is_idle(a, b))


async def test_a_method_without_a_stream_says_so() -> None:
    async with peer_pair(handlers_b=[ECHO]) as (a, _):
        with pytest.raises(UsageError, match="use call"):
            await a.stream("echo", 1).open()


async def test_a_stream_call_that_is_never_used_sends_nothing() -> None:
    gate = Gate()
    async with peer_pair(handlers_b=[gate.handler, ECHO]) as (a, _):
        call = a.stream("gate")
        await call.aclose()
        await a.call("echo")
        assert gate.count == 0


async def test_a_stream_of_bytes_that_is_given_text_fails_cleanly() -> None:
    async def text() -> AsyncIterator[Any]:
        yield "text"

    async with peer_pair(handlers_b=[handler(lambda _: OutgoingStream(text(), "bytes"), "source")]) as (a, b):
        with pytest.raises(InternalError, match="bytes was given str"):
            await a.stream("source").read_all()
        await until(lambda: is_idle(a, b))


async def test_a_reset_from_the_writer_reaches_the_reader() -> None:
    """Rule T8."""

    async def take(_: Context, stream: Stream) -> str:
        try:
            async for _chunk in stream:
                pass
        except StreamReset:
            return "reset"
        except Exception as error:
            return type(error).__name__
        return "ended"

    async with peer_pair(handlers_b=[handler(take)]) as (a, b):
        new = NewStream("bytes", receives=False)
        call = asyncio.create_task(a.call("take", new))
        await until(lambda: new.stream is not None)
        assert new.stream is not None
        await new.stream.write(b"half")
        new.stream.reset(NotFound("changed my mind"))
        assert await call in ("NotFound", "reset")
        assert "closed" in repr(new.stream)
        await until(lambda: is_idle(a, b))


async def test_a_ping_during_a_bulk_stream_on_a_slow_line_is_answered_soon() -> None:
    """Rules P1, P2, P7."""
    facts = ChannelFacts(scheme="memory", name="line", lossless=False, speaks_first=True, line_rate=11_520)
    source = Source(lambda: chunks(100_000, 1000), "bytes")
    pair = memory_pair(facts_a=facts, facts_b=facts)
    options = PeerOptions(drain=0)
    async with (
        peer_pair(handlers_b=[source.handler, ECHO], pair=pair, options=options) as (a, _),
        a.stream("source") as stream,
    ):
        await stream.read(1)
        loop = virtual_loop()
        for _ in range(10):
            assert await a.ping() < 0.15
            started = loop.time()
            await a.with_options(priority="urgent").call("echo")
            assert loop.time() - started < 0.3
            await stream.read(2000)


async def test_urgent_calls_overtake_a_bulk_transfer() -> None:
    """Rules P1, P3."""
    facts = ChannelFacts(scheme="memory", name="line", lossless=False, speaks_first=True, line_rate=11_520)
    order: list[str] = []
    pair = memory_pair(facts_a=facts, facts_b=facts)
    async with peer_pair(handlers_b=[ECHO], pair=pair) as (a, _):

        async def call(name: str, size: int) -> None:
            await a.with_options(priority=name, deadline=1000).call("echo", bytes(size))
            order.append(name)

        await asyncio.gather(call("bulk", 20_000), call("normal", 5000), call("urgent", 100))
        assert order == ["urgent", "normal", "bulk"]


async def test_a_message_whose_second_stream_is_refused_leaves_no_first_one_behind() -> None:
    """Rules T9, T11: a message that cannot be sent opens nothing, nor do its streams join the next message."""
    few = PeerOptions(limits=Limits(streams=1))
    async with peer_pair(handlers_b=[ECHO], options_b=few) as (a, b):
        for _ in range(3):
            with pytest.raises(Exception, match="open streams"):
                await a.call("echo", [NewStream(), NewStream()])
            assert await a.call("echo", 1) == 1
            assert is_idle(a, b)


class Held:
    """A source that holds something until it is closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def __aiter__(self) -> Held:
        return self

    async def __anext__(self) -> int:
        raise AssertionError("nobody reads this")

    async def aclose(self) -> None:
        self.closed.set()


async def test_a_source_is_closed_though_its_stream_is_over_before_anything_was_read_of_it() -> None:
    """A lease that lasts as long as its stream must end with it, however early that is."""
    held = Held()
    served: list[Peer] = []

    def cancel() -> None:
        assert served[0]._pumps
        for task in served[0]._pumps:
            task.cancel()

    def hold(context: Context) -> OutgoingStream:
        served.append(context.peer)
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, cancel)  # after the stream's task was made, before its first step
        return OutgoingStream(held)

    async with peer_pair([], [handler(hold)]) as (a, _), asyncio.timeout(10):
        async with a.stream("hold"):
            await held.closed.wait()
        await until(lambda: not served[0]._pumps)
