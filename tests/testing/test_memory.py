"""The channel in memory keeps an asyncio transport's promises: what passes over it passes over real ones."""

from __future__ import annotations

import asyncio

import pytest

from virtagent.errors import ChannelUnavailable
from virtagent.peer.handler import Handler
from virtagent.peer.state import PeerState
from virtagent.testing import Faults, check_transport, faulty_pair, memory_pair, peer_pair
from virtagent.testing.memory import MemoryPair
from virtagent.testing.transports import BufferedRecorder, MakePair, Recorder, StreamRecorder
from virtagent_transports import ChannelFacts
from virtagent_transports.facts import ProtocolFactory


def made_by(pair: MemoryPair) -> MakePair:
    async def make(near: ProtocolFactory, far: ProtocolFactory) -> tuple:  # type: ignore[type-arg]
        a, b = await asyncio.gather(pair.open_a(near), pair.open_b(far))
        return *a, *b

    return make


async def joined(pair: MemoryPair) -> tuple[asyncio.Transport, Recorder, asyncio.Transport, Recorder]:
    near, a, far, b = await made_by(pair)(BufferedRecorder, StreamRecorder)
    assert isinstance(a, Recorder)
    assert isinstance(b, Recorder)
    return near, a, far, b


async def test_it_keeps_the_promises_of_a_transport() -> None:
    await check_transport(made_by(memory_pair()), copies=True)


async def test_a_faulty_but_lossless_wire_keeps_them_too() -> None:
    pair = faulty_pair(Faults(split=30_000, delay=0.01, stall=0.05, stall_seconds=0.5), seed=3)
    await check_transport(made_by(pair), copies=True, timeout=600)


async def test_a_writer_waits_when_the_other_side_does_not_read() -> None:
    near, a, far, b = await joined(memory_pair(capacity=1000))
    b.pause()
    near.set_write_buffer_limits(high=500, low=100)
    near.write(bytes(1400))
    assert a.calls[-1] == "connection_made"
    assert near.get_write_buffer_size() == 400
    near.write(bytes(200))
    assert a.calls[-1] == "pause_writing"
    b.resume()
    await b.until(lambda: len(b.received) == 1600, "arrival", 1)
    assert a.calls[-1] == "resume_writing"
    near.close()
    await b.until(lambda: "connection_lost" in b.calls, "end", 1)
    assert far.is_closing()


async def test_write_eof_lets_the_other_direction_live() -> None:
    near, a, far, b = await joined(memory_pair())
    b.eof_received = lambda: True  # type: ignore[method-assign]
    near.write(b"last")
    near.write_eof()
    near.write(b"dropped")
    await b.until(lambda: b.received == b"last", "arrival", 1)
    far.write(b"answer")
    await a.until(lambda: a.received == b"answer", "answer", 1)
    far.close()
    await a.until(lambda: "connection_lost" in a.calls, "end", 1)
    near.abort()


async def test_a_cut_is_told_to_both_sides_and_loses_what_is_under_way() -> None:
    pair = memory_pair()
    near, a, _far, b = await joined(pair)
    b.pause()
    near.write(b"under way")
    pair.cut()
    for each in (a, b):
        await each.until(lambda each=each: "connection_lost" in each.calls, "loss", 1)  # type: ignore[misc]
        assert isinstance(each.error, ConnectionResetError)
    assert not b.received


async def test_a_protocol_that_raises_loses_its_connection_and_is_reported() -> None:
    near, _, far, b = await joined(memory_pair())
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))
    b._deliver = lambda data: 1 / 0  # type: ignore[assignment]
    near.write(b"x")
    await b.until(lambda: "connection_lost" in b.calls, "loss", 1)
    assert isinstance(b.error, ZeroDivisionError)
    assert reported == ["data_received() failed"]
    near.abort()
    assert far.is_closing()


async def test_a_side_that_opens_alone_waits_and_can_be_cancelled() -> None:
    pair = memory_pair()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await pair.open_a(StreamRecorder)
    near, _, _, b = await joined(pair)
    assert pair.opened == 1
    near.close()
    await b.until(lambda: "connection_lost" in b.calls, "loss", 1)


async def test_an_unavailable_pair_refuses_to_open() -> None:
    pair = memory_pair()
    pair.unavailable = "unplugged"
    open_a, _ = pair
    with pytest.raises(ChannelUnavailable, match="unplugged"):
        await open_a(StreamRecorder)
    assert len(pair.attempts) == 1


async def test_by_default_the_second_side_is_the_acceptor() -> None:
    near, a, _, b = await joined(memory_pair())
    assert a.facts == ChannelFacts(scheme="memory", name="memory:")
    assert not b.facts.connecting
    near.close()
    await b.until(lambda: "connection_lost" in b.calls, "loss", 1)


async def test_a_peer_pair_is_up_and_closed_afterwards() -> None:
    echo = Handler("echo", "inline", lambda _, params: next(iter(params)))
    async with peer_pair([echo], [echo]) as (a, b):
        assert await a.call("echo", 1) == 1
        assert await b.call("echo", 2) == 2
    assert a.state is b.state is PeerState.CLOSED
