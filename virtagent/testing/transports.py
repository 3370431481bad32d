"""A conformance kit: does a transport keep asyncio's promises, for both kinds of protocol?

::

    from virtagent.testing.transports import check_transport, url_pair

    async def test_my_transport() -> None:
        await check_transport(url_pair("mine:/somewhere"))

A scheme that cannot listen gives its own ``make_pair``: an async function that takes two protocol factories and
returns ``(transport, protocol, transport, protocol)``, connected to each other; the first one is checked.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias, cast

from virtagent_transports import ChannelFacts, connect, listen
from virtagent_transports.facts import ProtocolFactory

__all__ = ["BufferedRecorder", "MakePair", "Recorder", "StreamRecorder", "check_transport", "url_pair"]

Pair: TypeAlias = tuple[asyncio.Transport, asyncio.BaseProtocol, asyncio.Transport, asyncio.BaseProtocol]
MakePair: TypeAlias = Callable[[ProtocolFactory, ProtocolFactory], Awaitable[Pair]]

MUCH = 64 * 1024 * 1024
"""Bytes that no channel swallows while its other end does not read."""


class Recorder(asyncio.BaseProtocol):
    """Writes down what a transport calls, and notices what it must not call.

    Attributes:
        facts: what the factory was given.
        received: all bytes so far.
        calls: the names of the callbacks so far, without the deliveries.
        error: the argument of ``connection_lost``.
        faults: what the transport did wrong.
    """

    def __init__(self, facts: ChannelFacts) -> None:
        self.facts = facts
        self.received = bytearray()
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.faults: list[str] = []
        self.transport: asyncio.Transport | None = None
        self.paused = False
        self._changed = asyncio.Event()

    def _called(self, name: str) -> None:
        if "connection_lost" in self.calls:
            self.faults.append(f"{name}() after connection_lost()")
        if name != "connection_made" and "connection_made" not in self.calls:
            self.faults.append(f"{name}() before connection_made()")
        if name == "connection_made" and name in self.calls:
            self.faults.append("connection_made() twice")
        self.calls.append(name)
        self._changed.set()

    def _deliver(self, data: memoryview | bytes) -> None:
        self._called("data")
        self.calls.pop()
        if self.paused:
            self.faults.append(f"{len(data)} bytes delivered after pause_reading()")
        if not len(data):
            self.faults.append("an empty delivery")
        self.received += data

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._called("connection_made")

    def eof_received(self) -> bool | None:
        self._called("eof_received")
        return None

    def pause_writing(self) -> None:
        self._called("pause_writing")

    def resume_writing(self) -> None:
        self._called("resume_writing")

    def connection_lost(self, exc: Exception | None) -> None:
        self._called("connection_lost")
        self.error = exc

    async def until(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        """Wait until a condition on this recorder holds.

        Raises:
            AssertionError: it did not within ``timeout`` seconds, or the transport did something wrong.
        """
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            state = f"{len(self.received)} bytes received, calls: {', '.join(self.calls)}"
            raise AssertionError(f"{self.facts.name}: {what} did not happen within {timeout} s ({state})") from None
        assert not self.faults, f"{self.facts.name}: {'; '.join(self.faults[:3])}"

    def pause(self) -> None:
        """Stop reading; a delivery from now on is a fault."""
        assert self.transport is not None
        self.transport.pause_reading()
        self.paused = True

    def resume(self) -> None:
        """Read again."""
        assert self.transport is not None
        self.paused = False
        self.transport.resume_reading()


class StreamRecorder(Recorder, asyncio.Protocol):
    """A recorder that gets its bytes through ``data_received``."""

    def data_received(self, data: bytes) -> None:
        self._deliver(data)


class BufferedRecorder(Recorder, asyncio.BufferedProtocol):
    """A recorder that gets its bytes in a buffer of its own."""

    def __init__(self, facts: ChannelFacts) -> None:
        super().__init__(facts)
        self._buffer = memoryview(bytearray(64 * 1024))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._deliver(self._buffer[:nbytes])


def url_pair(url: str) -> MakePair:
    """Pairs made by listening on a URL (port 0 is fine) and connecting to it; the connecting side is the first."""

    async def make(near: ProtocolFactory, far: ProtocolFactory) -> Pair:
        accepted: asyncio.Future[Recorder] = asyncio.get_running_loop().create_future()

        def accept(facts: ChannelFacts) -> asyncio.BaseProtocol:
            protocol = cast("Recorder", far(facts))
            accepted.set_result(protocol)
            return protocol

        async with await listen(url, accept) as listener:
            transport, protocol = await connect(listener.url, near)
            other = await accepted
            await other.until(lambda: other.transport is not None, "connection_made() of the accepted side", 10)
        return transport, protocol, cast("asyncio.Transport", other.transport), other

    return make


async def check_transport(
    make_pair: MakePair, *, timeout: float = 20.0, flushes_on_close: bool = True, copies: bool = False
) -> None:
    """Check the first transport of the pairs that ``make_pair`` makes (14 pairs, one after the other).

    Args:
        make_pair: see the module's docstring.
        timeout: seconds that one wait may take.
        flushes_on_close: whether the channel delivers what was written before ``close()``.
        copies: whether a bytearray may be changed after ``write``. uvloop's sockets, and asyncio's since Python 3.12,
            keep a reference to what they cannot send at once.

    Raises:
        AssertionError: the transport breaks a promise; the text says which.
    """
    for kind in (StreamRecorder, BufferedRecorder):
        check = _Check(make_pair, kind, timeout, copies)
        await check.bytes_both_ways()
        await check.paused_reading()
        await check.flow_control()
        await check.close(flushes_on_close)
        await check.abort()
        await check.close_by_the_peer()
        await check.protocol_that_closes_while_reading()


def _noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311 - the same in every run is the point


class _Check:
    def __init__(self, make_pair: MakePair, kind: type[Recorder], timeout: float, copies: bool) -> None:
        self._make_pair, self._kind, self._timeout, self._copies = make_pair, kind, timeout, copies

    @asynccontextmanager
    async def _pair(self) -> AsyncIterator[tuple[asyncio.Transport, Recorder, asyncio.Transport, Recorder]]:
        near, a, far, b = await self._make_pair(self._kind, StreamRecorder)
        assert isinstance(a, Recorder), "connect() must return the protocol that the factory made"
        assert isinstance(b, Recorder), "the far side must use the protocol that the factory made"
        try:
            assert a.calls == ["connection_made"], f"calls after connect(): {a.calls}, expected connection_made"
            assert not near.is_closing(), "is_closing() is True at the start"
            yield near, a, far, b
        finally:
            for transport, each in ((near, a), (far, b)):
                if "connection_lost" not in each.calls:  # Python 3.11: abort() of a closed socket transport crashes
                    transport.abort()
                    await self._lost(each)
        for _ in range(3):  # what was scheduled wrongly comes now
            await asyncio.sleep(0)
        assert a.calls.count("connection_lost") == 1, f"connection_lost() came {a.calls.count('connection_lost')} times"
        assert not a.faults, f"{a.facts.name}: {'; '.join(a.faults)}"

    async def _lost(self, each: Recorder) -> None:
        await each.until(lambda: "connection_lost" in each.calls, "connection_lost()", self._timeout)

    async def _arrived(self, at: Recorder, expected: bytes, what: str) -> None:
        await at.until(lambda: len(at.received) >= len(expected), what, self._timeout)
        assert at.received == expected, f"{what}: the bytes that arrived differ from those written"
        at.received.clear()

    async def bytes_both_ways(self) -> None:
        async with self._pair() as (near, a, far, b):
            near.write(b"")
            for size in (1, 4097, 1 << 20):
                data = _noise(size, size)
                near.write(data)
                await self._arrived(b, data, f"write() of {size} bytes")
                far.write(data)
                await self._arrived(a, data, f"reading {size} bytes")
            part = _noise(0, 300_000)
            volatile = bytearray(part)
            near.write(volatile)
            if self._copies:
                volatile[:] = bytes(len(volatile))
            near.write(memoryview(part)[100:200_100])
            near.writelines([part[:1], bytearray(part[1:9]), memoryview(part)[9:]])
            await self._arrived(b, part + part[100:200_100] + part, "write() of bytearray, memoryview, writelines()")

    async def paused_reading(self) -> None:
        async with self._pair() as (near, a, far, b):
            a.pause()
            a.pause() if near.is_reading() else None
            assert not near.is_reading(), "is_reading() is True after pause_reading()"
            far.write(b"held back")
            for turn in range(1, 4):  # time passes: the other way still works
                near.write(b".")
                await b.until(lambda turn=turn: len(b.received) >= turn, "a write while paused", self._timeout)  # type: ignore[misc]
            a.resume()
            assert near.is_reading(), "is_reading() is False after resume_reading()"
            await self._arrived(a, b"held back", "delivery after resume_reading()")

    async def flow_control(self) -> None:
        async with self._pair() as (near, a, _, b):
            b.pause()
            near.set_write_buffer_limits(high=100_000, low=10_000)
            chunk, count = bytes(50_000), 0
            while "pause_writing" not in a.calls:
                near.write(chunk)
                count += len(chunk)
                assert count < MUCH, f"pause_writing() was not called after {count} bytes that nobody reads"
            assert near.get_write_buffer_size() > 100_000, "pause_writing() below the high-water mark"
            assert a.calls.count("pause_writing") == 1, "pause_writing() was called twice in a row"
            b.resume()
            await a.until(lambda: "resume_writing" in a.calls, "resume_writing()", self._timeout)
            await b.until(lambda: len(b.received) >= count, f"arrival of all {count} bytes", self._timeout)
            assert not near.get_write_buffer_size(), "get_write_buffer_size() is not 0 when all is written"

    async def close(self, flushes: bool) -> None:
        async with self._pair() as (near, a, _, b):
            data = _noise(1, 500_000)
            near.write(data)
            near.close()
            assert near.is_closing(), "is_closing() is False after close()"
            near.close()  # no write here: asyncio's sockets still send what comes while they flush, others drop it
            if flushes:
                await self._arrived(b, data, "arrival of what was written before close()")
            await self._lost(a)
            assert a.error is None, f"connection_lost() after close() got {a.error!r}, expected None"

    async def abort(self) -> None:
        async with self._pair() as (near, a, _, b):
            b.pause()
            near.write(bytes(8 << 20))
            near.close()
            near.abort()
            assert near.is_closing(), "is_closing() is False after abort()"
            assert "connection_lost" not in a.calls, "connection_lost() was called from inside abort()"
            await self._lost(a)
            b.resume()

    async def close_by_the_peer(self) -> None:
        async with self._pair() as (_, a, far, _b):
            far.write(b"last words")
            await self._arrived(a, b"last words", "arrival before the peer's close")
            far.close()
            if a.facts.tells_disconnect:
                await self._lost(a)

    async def protocol_that_closes_while_reading(self) -> None:
        async with self._pair() as (near, a, far, _):
            deliver = a._deliver

            def abort_then(data: memoryview | bytes) -> None:
                deliver(data)
                near.abort()

            a._deliver = abort_then  # type: ignore[method-assign]
            far.write(bytes(300_000))
            await self._lost(a)
