"""The session's promises over every kind of channel: the same tests over memory, unix, tcp, tls and a serial line."""

from __future__ import annotations

import asyncio
import os
import pty
import tty
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from virtagent.errors import CallError, DeadlineExceeded, NotFound, PeerGone, SessionLost
from virtagent.peer.connecting import Connecting, ConnectingPeer
from virtagent.peer.context import Context
from virtagent.peer.handler import Handler
from virtagent.peer.listening import Listening
from virtagent.peer.options import PeerOptions
from virtagent.peer.peer import Peer
from virtagent.peer.state import PeerState
from virtagent.peer.stream import NewStream, OutgoingStream, Stream
from virtagent.testing import peer_pair
from virtagent_transports import ChannelFacts
from virtagent_transports.fd_transport import FdTransport

from .support import ECHO, Gate, count_up, handler, is_idle

REAL_TIME = True
BOUND = 20.0

Duo = Callable[..., AbstractAsyncContextManager[tuple[Peer, Peer]]]


def certificates(directory: Path) -> str:
    """URL options of a certificate for 127.0.0.1 that is its own authority."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = directory / "cert.pem", directory / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return f"cert={cert_file}&key={key_file}&ca={cert_file}"


@asynccontextmanager
async def over_url(
    url: str, handlers_a: Iterable[Handler], handlers_b: Iterable[Handler], options: PeerOptions
) -> AsyncIterator[tuple[Peer, Peer]]:
    """A connector and the peer that a listener accepted."""
    accepted: asyncio.Queue[Peer] = asyncio.Queue()
    async with Listening(url, handlers_b, options, on_peer=accepted.put_nowait) as listening:
        target = listening.url
        async with Connecting(lambda: ConnectingPeer(target, handlers_a, options), timeout=BOUND) as a:
            b = await accepted.get()
            await b.wait_ready(BOUND)
            yield a, b


@asynccontextmanager
async def over_pty(
    handlers_a: Iterable[Handler], handlers_b: Iterable[Handler], options: PeerOptions
) -> AsyncIterator[tuple[Peer, Peer]]:
    """A serial line: the first peer opens a pty's slave as a device, the second has its master."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    facts = ChannelFacts(
        scheme="serial", name="master", lossless=False, stale=True, speaks_first=True, line_rate=400_000
    )

    async def open_master(factory: Callable[[Any], asyncio.BaseProtocol]) -> None:
        FdTransport(asyncio.get_running_loop(), factory(facts), os.dup(master), os.dup(master)).start()

    try:
        url = f"serial:{os.ttyname(slave)}?baud=4000000"
        far = ConnectingPeer("master", handlers_b, options, open_channel=open_master)
        await far.open_once()
        async with Connecting(lambda: ConnectingPeer(url, handlers_a, options), timeout=BOUND) as a:
            await far.wait_ready(BOUND)
            yield a, far
        await far.aclose()
    finally:
        os.close(master)
        os.close(slave)


@pytest.fixture(params=["memory", "unix", "tcp", "tls", "serial"])
def duo(request: pytest.FixtureRequest, short_tmp: Path) -> Duo:
    """``async with duo(handlers_a, handlers_b) as (a, b)``: two peers that are up, over a channel of each kind."""
    kind = request.param

    def make(
        handlers_a: Iterable[Handler] = (), handlers_b: Iterable[Handler] = (), options: PeerOptions | None = None
    ) -> AbstractAsyncContextManager[tuple[Peer, Peer]]:
        options = options or PeerOptions()
        if kind == "memory":
            return peer_pair(handlers_a, handlers_b, options=options)
        if kind == "serial":
            return over_pty(handlers_a, handlers_b, options)
        url = {"unix": f"unix:{short_tmp}/s", "tcp": "tcp:127.0.0.1:0"}.get(kind)
        if url is None:
            url = f"tls:127.0.0.1:0?{certificates(short_tmp)}"
        return over_url(url, handlers_a, handlers_b, options)

    return make


async def settled(*peers: Peer) -> None:
    """Wait until nothing is open any more."""
    async with asyncio.timeout(BOUND):
        while not is_idle(*peers):
            await peers[0].ping()


async def test_both_sides_call_each_other(duo: Duo) -> None:
    """Rules C1, C4, H1."""
    async with duo([ECHO], [ECHO]) as (a, b):
        assert await a.call("echo", {"x": [1, None, b"2", "3", 4.5]}) == {"x": [1, None, b"2", "3", 4.5]}
        assert await b.call("echo", "back") == "back"
        await settled(a, b)


async def test_many_calls_at_once_are_answered_each_its_own(duo: Duo) -> None:
    """Rule C4."""
    async with duo([ECHO], [ECHO]) as (a, b):
        answers = await asyncio.gather(*(peer.call("echo", number) for number in range(60) for peer in (a, b)))
        assert answers == [number for number in range(60) for _ in range(2)]
        await settled(a, b)


async def test_a_message_longer_than_a_frame_arrives_whole(duo: Duo) -> None:
    """Rule P4."""
    async with duo(handlers_b=[ECHO]) as (a, _):
        large = bytes(range(256)) * 600
        assert await a.call("echo", large) == large


async def test_handlers_call_back(duo: Duo) -> None:
    """Rule C6."""

    async def bounce(ctx: Context, levels: int) -> Any:
        return await ctx.peer.call("bounce", levels - 1) if levels else ctx.depth

    async with duo([handler(bounce)], [handler(bounce)]) as (a, _):
        assert await a.call("bounce", 8) == 8


async def test_a_cancelled_call_cancels_the_handler(duo: Duo) -> None:
    """Rule C7."""
    gate = Gate()
    async with duo(handlers_b=[gate.handler, ECHO]) as (a, b):
        call = asyncio.create_task(a.call("gate"))
        await gate.entered.wait()
        call.cancel()
        async with asyncio.timeout(BOUND):
            await gate.ended.wait()
        assert gate.cancelled == 1
        await settled(a, b)


async def test_a_deadline_ends_the_call_on_both_sides(duo: Duo) -> None:
    """Rule D3."""
    gate = Gate()
    async with duo(handlers_b=[gate.handler]) as (a, b):
        with pytest.raises(DeadlineExceeded) as caught:
            await a.with_options(deadline=0.05).call("gate")
        assert caught.value.may_have_run
        async with asyncio.timeout(BOUND):
            await gate.ended.wait()
        await settled(a, b)


async def test_errors_keep_their_class(duo: Duo) -> None:
    """Rule C3."""

    def fail(_: Context) -> None:
        raise NotFound("nothing", data=[1])

    async with duo(handlers_b=[handler(fail)]) as (a, _):
        with pytest.raises(NotFound, match="nothing") as caught:
            await a.call("fail")
        assert caught.value.data == [1]


async def test_notifications_arrive_in_order(duo: Duo) -> None:
    """Rule C9."""
    seen: asyncio.Queue[int] = asyncio.Queue()
    async with duo(handlers_b=[handler(lambda _, number: seen.put_nowait(number), "note")]) as (a, _):
        for number in range(50):
            a.notify("note", number)
        async with asyncio.timeout(BOUND):
            assert [await seen.get() for _ in range(50)] == list(range(50))


async def test_streams_go_down_and_up(duo: Duo) -> None:
    """Rules T1 to T7."""

    async def total(_: Context, data: Stream) -> int:
        return len(await data.read_all())

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 2000

    handlers = [
        handler(total),
        handler(lambda _: OutgoingStream(chunks(), "bytes"), "data"),
        handler(lambda _, end: OutgoingStream(count_up(end=end)), "count"),
    ]
    async with duo(handlers_b=handlers) as (a, b):
        assert await a.stream("data").read_all() == b"x" * 100_000
        assert [item async for item in a.stream("count", 1000)] == list(range(1000))
        assert await a.call("total", OutgoingStream(chunks(), "bytes")) == 100_000
        await settled(a, b)


async def test_a_duplex_stream_echoes_with_half_close(duo: Duo) -> None:
    """Rules T1, T7."""

    async def upper(_: Context, stream: Stream) -> None:
        async for chunk in stream:
            await stream.write(chunk.upper())
        stream.end()

    async with duo(handlers_b=[handler(upper)]) as (a, b):
        new = NewStream("bytes")
        call = asyncio.create_task(a.call("upper", new))
        await asyncio.sleep(0)
        assert new.stream is not None
        await new.stream.write(b"abc")
        new.stream.end()
        assert await new.stream.read() == b"ABC"
        await call
        await settled(a, b)


async def test_leaving_a_stream_early_ends_it_at_the_other_side(duo: Duo) -> None:
    """Rule T8."""
    async with duo(handlers_b=[handler(lambda _: OutgoingStream(count_up()), "count")]) as (a, b):
        async with a.stream("count") as stream:
            assert await anext(stream) == 0
        await settled(a, b)


async def test_a_ping_is_answered(duo: Duo) -> None:
    """Rule K4."""
    async with duo() as (a, b):
        assert 0 <= await a.ping(BOUND) < BOUND
        assert 0 <= await b.ping(BOUND) < BOUND


async def test_a_goodbye_tells_its_reason(duo: Duo) -> None:
    """Rules G1, G2."""
    gate = Gate()
    async with duo(handlers_b=[gate.handler], options=PeerOptions(drain=0.05)) as (a, b):
        call = asyncio.create_task(a.call("gate"))
        await gate.entered.wait()
        await b.aclose("shutdown", "power off")
        with pytest.raises(PeerGone, match="power off") as caught:
            await call
        assert caught.value.reason == "shutdown"
        assert b.state is PeerState.CLOSED


async def test_a_lost_channel_ends_everything(duo: Duo) -> None:
    """Rule G5."""
    gate = Gate()
    async with duo(handlers_b=[gate.handler]) as (a, b):
        call = asyncio.create_task(a.call("gate"))
        await gate.entered.wait()
        assert b.channel is not None
        b.channel.abort()
        async with asyncio.timeout(BOUND):
            await gate.ended.wait()
            if a.channel is not None and not a.channel.facts.lossless:
                a.channel.abort()
            with pytest.raises((SessionLost, CallError)):
                await call
