"""Coming up, going down, coming back: states, goodbye, drain, reconnecting."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from virtagent.errors import (
    ChannelUnavailable,
    DeadlineExceeded,
    NobodyAnswers,
    PeerClosed,
    PeerGone,
    SessionLost,
    Unavailable,
)
from virtagent.peer.channel import Channel
from virtagent.peer.connecting import Connecting, ConnectingPeer
from virtagent.peer.context import Context
from virtagent.peer.handler import Handler, Router
from virtagent.peer.options import PeerOptions
from virtagent.peer.peer import Peer
from virtagent.peer.state import PeerState
from virtagent.testing import Faults, MemoryPair, faulty_pair, memory_pair, peer_pair
from virtagent.testing.memory import Wire
from virtagent_transports import ChannelFacts

from .support import ECHO, Gate, handler, is_idle, until, virtual_loop

UP, SILENT, GONE, CLOSED = PeerState.UP, PeerState.SILENT, PeerState.GONE, PeerState.CLOSED
NO_CHANNEL, NOBODY = PeerState.NO_CHANNEL, PeerState.NOBODY_ANSWERS


def connecting(
    pair: MemoryPair, *handlers: Handler, b: bool = False, options: PeerOptions | None = None
) -> ConnectingPeer:
    open_channel = pair.open_b if b else pair.open_a
    return ConnectingPeer("memory:", handlers, options or PeerOptions(), open_channel=open_channel)


async def started(peer: ConnectingPeer) -> ConnectingPeer:
    return await Connecting(lambda: peer, timeout=10).start(ready=True)


# -- goodbye and drain --------------------------------------------------------------------------------------------


async def test_closing_lets_running_calls_of_both_directions_end() -> None:
    """Rule G1."""
    gates = [Gate("gate"), Gate("gate")]
    async with peer_pair([gates[0].handler, ECHO], [gates[1].handler, ECHO]) as (a, b):
        calls = [asyncio.create_task(peer.call("gate", 1)) for peer in (a, b)]
        for gate in gates:
            await gate.entered.wait()
        closing = asyncio.create_task(a.aclose())
        await asyncio.sleep(1)
        assert not closing.done()
        with pytest.raises(Unavailable, match="stopping"):
            await b.call("echo")
        with pytest.raises(PeerClosed):
            await a.call("echo")
        for gate in gates:
            gate.open.set()
        assert await asyncio.gather(*calls) == [1, 1]
        await closing
        assert a.state is CLOSED
        with pytest.raises(PeerClosed, match="closed here"):
            await a.call("echo")
        with pytest.raises(PeerClosed):
            a.notify("echo")


async def test_a_running_handler_may_call_back_during_the_drain() -> None:
    """Rule G1: that belongs to the running call."""
    gate = Gate()

    async def ask(ctx: Context) -> Any:
        await gate.handler.invoke(ctx, [])
        return await ctx.peer.call("echo", "still there")

    async with peer_pair([ECHO], [handler(ask)]) as (a, b):
        call = asyncio.create_task(a.call("ask"))
        await gate.entered.wait()
        closing = asyncio.create_task(b.aclose())
        await asyncio.sleep(0)
        gate.open.set()
        assert await call == "still there"
        await closing


async def test_what_has_not_ended_when_the_drain_is_over_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    """Rules G1, G5."""
    gate, loop = Gate(), virtual_loop()
    async with peer_pair(handlers_b=[gate.handler], options=PeerOptions(drain=3)) as (a, b):
        call = asyncio.create_task(a.call("gate"))
        await gate.entered.wait()
        began = loop.time()
        await b.aclose("shutdown")
        assert loop.time() - began == pytest.approx(3, abs=0.1)
        assert gate.cancelled == 1
        with pytest.raises(PeerGone) as caught:
            await call
        assert caught.value.reason == "shutdown"
        assert caught.value.may_have_run
        assert is_idle(a, b)
    assert "still running 3 s after the close began" in caplog.text


async def test_the_reason_of_a_goodbye_reaches_the_other_side() -> None:
    """Rules G1, G2."""
    async with peer_pair() as (a, b):
        states = b.states()
        assert await anext(states) is UP
        await a.aclose("reboot", "the machine restarts")
        assert await anext(states) in (GONE, CLOSED)
        assert b.state is GONE
        assert "the machine restarts" in b.detail
        with pytest.raises(PeerGone) as caught:
            await b.call("echo")
        assert caught.value.reason == "reboot"
        assert not caught.value.may_have_run
        with pytest.raises(PeerGone):
            await b.wait_ready(1)


async def test_a_goodbye_that_is_not_acknowledged_ends_after_two_seconds_and_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Rule G3."""
    pair, loop = faulty_pair(), virtual_loop()
    async with peer_pair(pair=pair) as (a, _):
        pair.stop()
        began = loop.time()
        await a.aclose()
        assert loop.time() - began < 5
    assert "not acknowledged; the tail of what was sent may be lost" in caplog.text


async def test_closing_is_safe_twice_at_the_same_time_and_from_a_handler() -> None:
    async def close(ctx: Context) -> None:
        await ctx.peer.aclose("stop")

    loop = virtual_loop()
    async with peer_pair(handlers_b=[handler(close)]) as (a, b):
        began = loop.time()
        with pytest.raises(PeerGone):
            await a.call("close")
        await asyncio.gather(a.aclose(), a.aclose(), b.aclose(), b.aclose())
        await a.aclose()
        assert loop.time() - began < 1
        assert a.state is b.state is CLOSED


async def test_a_close_without_a_drain_fails_running_calls_at_once_with_its_reason() -> None:
    """Rules G1, G2: a machine that reboots takes what runs with it, and its host is to know why."""
    gate, loop = Gate(), virtual_loop()
    async with peer_pair(handlers_b=[gate.handler]) as (a, b):
        call = asyncio.create_task(a.call("gate"))
        await gate.entered.wait()
        began = loop.time()
        await b.aclose("reboot", "the guest reboots", drain=0)
        await asyncio.wait([call])
        error = call.exception()
        assert isinstance(error, PeerGone)
        assert error.reason == "reboot"
        assert error.may_have_run
        assert loop.time() - began < 0.1


async def test_cancelling_a_close_closes_at_once() -> None:
    gate, loop = Gate(), virtual_loop()
    async with peer_pair(handlers_b=[gate.handler]) as (a, _):
        call = asyncio.create_task(a.call("gate"))
        await gate.entered.wait()
        began = loop.time()
        closing = asyncio.create_task(a.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing, call])
        assert closing.cancelled()
        assert a.state is CLOSED
        assert loop.time() == began
        assert isinstance(call.exception(), SessionLost)


async def test_a_close_says_no_goodbye_to_a_transport_that_the_loop_has_closed_already() -> None:
    """uvloop does so when a connect is cancelled, says it only in its next turn, and raises for whoever writes."""
    async with peer_pair() as (a, _):
        assert a.channel is not None
        assert a.channel.transport is not None
        a.channel.transport.abort()

        def closed(data: Any) -> None:
            raise RuntimeError("the handler is closed")

        a.channel.transport.write = closed  # type: ignore[method-assign]
        await a.aclose()
        assert a.state is CLOSED


async def test_a_close_does_not_wait_for_ever_for_a_peer_that_does_not_read() -> None:
    pair, loop = memory_pair(), virtual_loop()
    async with peer_pair(handlers_b=[ECHO], pair=pair) as (a, _):
        assert pair.ends is not None
        pair.ends[1].pause_reading()
        a.notify("echo", bytes(500_000))
        await asyncio.sleep(1)
        began = loop.time()
        await a.aclose()
        assert loop.time() - began < 10
        assert pair.ends[0].is_closing()
        assert a.channel is None
        pair.ends[1].resume_reading()


# -- states -------------------------------------------------------------------------------------------------------


async def test_silence_is_told_after_three_missed_intervals_and_does_not_end_the_session() -> None:
    """Rules K1, K2, K5."""
    pair, loop = faulty_pair(), virtual_loop()
    async with peer_pair(handlers_b=[ECHO], pair=pair) as (a, b):
        await asyncio.sleep(36_000)
        assert a.state is b.state is UP
        pair.stop()
        began = loop.time()
        states = a.states()
        assert [await anext(states), await anext(states)] == [UP, SILENT]
        assert 10 < loop.time() - began <= 15.1
        await asyncio.sleep(36_000)
        assert a.state is SILENT
        pair.release()
        await a.wait_ready(10)
        assert await a.call("echo", 1) == 1


async def test_a_peer_that_is_silent_too_long_is_given_up_where_the_user_said_so() -> None:
    """Rule K5."""
    pair = faulty_pair()
    async with peer_pair(handlers_b=[Gate().handler], pair=pair, options=PeerOptions(lost_after=100)) as (a, _):
        call = asyncio.create_task(a.with_options(deadline=1000).call("gate"))
        await asyncio.sleep(1)
        pair.stop()
        with pytest.raises(SessionLost, match="silent for too long"):
            await call
        pair.release()


async def test_a_process_that_was_stopped_does_not_call_its_peer_silent() -> None:
    """Rule K3."""
    async with peer_pair(handlers_b=[ECHO]) as (a, b):
        virtual_loop().advance(3600)
        await asyncio.sleep(1)
        assert a.state is b.state is UP
        assert await a.call("echo", 1) == 1


async def test_a_ping_measures_the_line_and_two_share_one() -> None:
    """Rule K4."""
    pair = faulty_pair(Faults(delay=0.2))
    async with peer_pair(pair=pair) as (a, _):
        first, second = await asyncio.gather(a.ping(), a.ping())
        assert first == second
        assert 0 < first <= 0.4
        pair.stop()
        with pytest.raises(DeadlineExceeded, match="no answer to a ping within 2 s"):
            await a.ping(2)
        pair.release()


async def test_a_ping_fails_with_its_session() -> None:
    pair = faulty_pair()
    async with peer_pair(pair=pair) as (a, _):
        pair.stop()
        ping = asyncio.create_task(a.ping())
        await asyncio.sleep(1)
        pair.cut()
        with pytest.raises(SessionLost):
            await ping


async def test_statistics_are_plain_data() -> None:
    async with peer_pair(handlers_b=[ECHO]) as (a, _):
        numbers = a.statistics()
        assert numbers["state"] == "up"
        assert all(isinstance(value, (int, str)) for value in numbers.values())
        assert "up" in repr(a)


# -- connecting and reconnecting ----------------------------------------------------------------------------------


async def test_nobody_answers_tells_both_reasons_and_the_channel_once() -> None:
    """Section K's states: the channel is open, and yet there is no peer."""
    pair = memory_pair()
    mute = asyncio.create_task(pair.open_b(lambda _: asyncio.Protocol()))
    with pytest.raises(NobodyAnswers) as caught:
        await started(connecting(pair))
    (transport, _), text = await mute, str(caught.value)
    assert "no agent in the guest has the other end open" in text
    assert "another program on this machine holds the channel" in text
    assert text.count("memory:") == 1
    transport.close()


async def test_the_first_request_leaves_with_the_hello_that_confirms_the_session() -> None:
    """Whoever waits for the session runs where its hello was read: two writes of each side are all."""
    sent: list[int] = []

    class Recording(Wire):
        def send(self, data: bytes, now: float) -> None:
            sent.append(id(self))
            super().send(data, now)

    async def call_when_ready(peer: Peer) -> Any:
        await peer.wait_ready()
        return await peer.call("echo", 1)

    pair = memory_pair(make_wire=Recording)
    a, b = (Peer(Router([ECHO]), PeerOptions(), name="memory:", returns=True) for _ in range(2))
    calling = asyncio.create_task(call_when_ready(a))
    await asyncio.sleep(0)
    opening = [
        pair.open_a(lambda facts: Channel(facts, lambda _: a)),
        pair.open_b(lambda facts: Channel(facts, lambda _: b)),
    ]
    await asyncio.gather(*opening)
    assert await calling == 1
    assert pair.wires is not None
    assert [sent.count(id(wire)) for wire in pair.wires] == [2, 2]
    await a.aclose()
    await b.aclose()


async def test_a_channel_that_is_open_needs_no_task() -> None:
    """A thousand guests are a thousand peers, of which few are being connected to."""
    pair = memory_pair()
    server = asyncio.create_task(started(connecting(pair, b=True)))
    client = await started(connecting(pair))
    peers = (client, await server)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    pair.cut()
    await until(lambda: client.state is NO_CHANNEL)
    await client.wait_ready(10)
    for peer in peers:
        await peer.aclose()


async def test_a_channel_that_is_lost_before_it_is_kept_open_is_opened_again() -> None:
    pair = memory_pair()
    server = asyncio.create_task(started(connecting(pair, b=True)))
    client = connecting(pair)
    await client.open_once()
    pair.cut()
    await until(lambda: client.state is NO_CHANNEL)
    client.keep_open()
    await client.wait_ready(10)
    await client.aclose()
    await (await server).aclose()


async def test_a_channel_that_cannot_be_opened_fails_at_once_or_is_waited_for() -> None:
    pair, loop = memory_pair(), virtual_loop()
    pair.unavailable = "unplugged"
    began = loop.time()
    with pytest.raises(ChannelUnavailable, match="unplugged"):
        await Connecting(lambda: connecting(pair))
    assert loop.time() == began
    other = asyncio.create_task(started(connecting(memory_pair())))
    waiting = asyncio.create_task(Connecting(lambda: connecting(pair), wait=True, timeout=3600).start(ready=True))
    await asyncio.sleep(100)
    pair.unavailable = None
    server = await started(connecting(pair, b=True))
    peer = await waiting
    assert peer.state is UP
    await peer.aclose()
    await server.aclose()
    with pytest.raises(NobodyAnswers, match="could not be opened within 10 s"):
        await other


async def test_a_lost_channel_is_opened_again_and_waiting_calls_proceed() -> None:
    """Rules G5, D5: what was in flight fails as lost, what waits is sent to the new peer."""
    pair, gate = memory_pair(), Gate()
    client = connecting(pair)
    server, _ = await asyncio.gather(started(connecting(pair, gate.handler, ECHO, b=True)), started(client))
    seen: list[PeerState] = []

    async def follow() -> None:
        async for state in client.states():
            seen.append(state)  # noqa: PERF401 - read while it grows

    following = asyncio.create_task(follow())
    in_flight = asyncio.create_task(client.call("gate"))
    await gate.entered.wait()
    pair.unavailable = "the server restarts"
    pair.cut()
    with pytest.raises(SessionLost) as caught:
        await in_flight
    assert caught.value.may_have_run
    await gate.ended.wait()
    await asyncio.sleep(30)
    assert client.state is NO_CHANNEL
    assert "the server restarts" in client.detail
    waiting = asyncio.create_task(client.call("echo", "later"))
    await asyncio.sleep(10)
    pair.unavailable = None
    assert await waiting == "later"
    assert client.state is UP
    await client.aclose()
    await server.aclose()
    await following
    assert seen[0] is UP
    assert UP in seen[seen.index(NO_CHANNEL) :]
    assert seen[-1] is CLOSED
    assert gate.count == 1


async def test_the_pauses_between_attempts_double_with_jitter_up_to_the_longest() -> None:
    pair = memory_pair()
    options = PeerOptions(first_retry=0.1, longest_retry=10)
    client = connecting(pair, options=options)
    server, _ = await asyncio.gather(started(connecting(pair, b=True)), started(client))
    await server.aclose()
    pair.attempts.clear()
    pair.unavailable = "away"
    await asyncio.sleep(300)
    pauses = [later - earlier for earlier, later in zip(pair.attempts, pair.attempts[1:], strict=False)]
    assert len(pauses) > 20
    for number, pause in enumerate(pauses):
        longest = min(10.0, 0.1 * 2 ** (number + 1))
        assert longest * 0.5 - 1e-6 <= pause <= longest + 1e-6
    assert len(set(pauses[10:])) > 5
    await client.aclose()


async def test_only_a_call_that_may_run_twice_is_made_again_by_itself() -> None:
    """Rule D5, and the option ``retry``."""
    pair, gate = memory_pair(), Gate()
    client = connecting(pair)
    server, _ = await asyncio.gather(started(connecting(pair, gate.handler, b=True)), started(client))
    once = asyncio.create_task(client.call("gate", 1))
    again = asyncio.create_task(client.with_options(retry=True).call("gate", 2))
    await until(lambda: gate.count == 2)
    pair.cut()
    with pytest.raises(SessionLost):
        await once
    gate.open.set()
    assert await again == 2
    assert gate.count == 3
    await client.aclose()
    await server.aclose()


async def test_a_retried_call_ends_at_its_own_deadline() -> None:
    """Rule D1."""
    pair, gate, loop = memory_pair(), Gate(), virtual_loop()
    client = connecting(pair)
    server, _ = await asyncio.gather(started(connecting(pair, gate.handler, b=True)), started(client))
    began = loop.time()
    call = asyncio.create_task(client.with_options(retry=True).call("gate"))
    for _ in range(5):
        await asyncio.sleep(9)
        pair.cut()
    with pytest.raises(DeadlineExceeded):
        await call
    assert loop.time() - began == pytest.approx(60, abs=0.5)
    await client.aclose()
    await server.aclose()


async def test_wait_ready_waits_through_restarts_and_gives_up_in_time() -> None:
    pair = memory_pair()
    client = connecting(pair)
    server, _ = await asyncio.gather(started(connecting(pair, b=True)), started(client))
    await server.aclose("stop")
    await until(lambda: client.state is not UP)
    with pytest.raises(NobodyAnswers):
        await client.wait_ready(100)
    coming = asyncio.create_task(client.wait_ready())
    server = await started(connecting(pair, b=True))
    await coming
    assert client.state is UP
    closing = asyncio.create_task(client.wait_ready())
    await closing
    await server.aclose()
    await until(lambda: client.state is not UP)
    waiting = asyncio.create_task(client.wait_ready())
    await asyncio.sleep(1)
    await client.aclose()
    with pytest.raises(PeerClosed):
        await waiting


async def test_two_peers_find_each_other_on_a_bad_serial_line_and_work_once_it_is_good() -> None:
    """Rules F3, F4, G4, H1, H10: noise costs sessions, never more."""
    facts = ChannelFacts(scheme="serial", name="line", lossless=False, stale=True, speaks_first=True, line_rate=115_200)
    bad = Faults(split=40, delay=0.02, drop=0.02, corrupt=0.02, duplicate=0.02)
    for seed in range(5):
        pair = faulty_pair(bad, seed=seed, facts_a=facts, facts_b=facts)
        peers: tuple[Peer, Peer]
        async with peer_pair([ECHO], [ECHO], pair=pair, timeout=1000, reconnect=True) as peers:
            outcomes = await asyncio.gather(
                *(peer.with_options(deadline=20).call("echo", number) for peer in peers for number in range(20)),
                return_exceptions=True,
            )
            for number, outcome in enumerate(outcomes):
                assert outcome == number % 20 or isinstance(outcome, (SessionLost, DeadlineExceeded))
            pair.heal()
            await asyncio.sleep(30)
            for peer in peers:
                await peer.wait_ready(10)
                assert await peer.call("echo", "well") == "well"
            assert is_idle(*peers)


async def test_a_line_that_echoes_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """Rule H7."""
    caplog.set_level(logging.WARNING)
    facts = ChannelFacts(scheme="serial", name="line", lossless=False, stale=True, speaks_first=True, line_rate=11_520)
    pair = memory_pair(facts_a=facts)

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    echoing = asyncio.create_task(pair.open_b(lambda _: Echo()))
    with pytest.raises(NobodyAnswers, match="the line echoes"):
        await started(connecting(pair))
    transport, _ = await echoing
    transport.close()
    assert "the line echoes" in caplog.text
