"""Plain TCP: loopback unless asked, no delay, keep-alive."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest

from virtagent.errors import ChannelBusy, ChannelUnavailable
from virtagent.testing.transports import StreamRecorder
from virtagent_transports import ChannelFacts, connect, listen, tcp
from virtagent_transports.sockets import borrowed

from .support import lost


async def test_port_0_gives_a_url_that_can_be_connected_to() -> None:
    for address in ("127.0.0.1", "localhost"):
        async with await listen(f"tcp:{address}:0", StreamRecorder) as listener:
            assert not listener.url.target.endswith(":0")
            transport, protocol = await connect(str(listener.url), StreamRecorder)
            transport.close()
            await lost(protocol)


async def test_both_ends_send_without_delay_and_notice_a_dead_host() -> None:
    accepted: asyncio.Future[StreamRecorder] = asyncio.get_running_loop().create_future()

    def accept(facts: ChannelFacts) -> StreamRecorder:
        protocol = StreamRecorder(facts)
        accepted.set_result(protocol)
        return protocol

    async with await listen("tcp:127.0.0.1:0", accept) as listener:
        transport, protocol = await connect(listener.url, StreamRecorder)
        assert isinstance(protocol, StreamRecorder)
        other = await accepted
        await other.until(lambda: other.transport is not None, "connection_made", 5)
        assert other.transport is not None
        for end in (transport, other.transport):
            with borrowed(end) as sock:
                assert sock is not None
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        transport.close()
        await lost(other)


async def test_a_refused_connection_and_an_unknown_name_are_one_line(unused_port: int) -> None:
    with pytest.raises(ChannelUnavailable, match="nobody listens on that port; start the server"):
        await connect(f"tcp:127.0.0.1:{unused_port}", StreamRecorder)
    with pytest.raises(ChannelUnavailable, match="cannot be resolved"):
        await connect("tcp:no-such-host.invalid:1?insecure=yes", StreamRecorder)


async def test_a_taken_port_is_busy() -> None:
    async with await listen("tcp:127.0.0.1:0", StreamRecorder) as listener:
        with pytest.raises(ChannelBusy, match="another program listens there"):
            await listen(listener.url, StreamRecorder)


async def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(ChannelUnavailable, match="this machine does not have that address"):
        await listen("tcp:192.0.2.1:0?insecure=yes", StreamRecorder)


async def test_insecure_tcp_is_warned_about_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "_warned", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            (await listen("tcp:0.0.0.0:0?insecure=yes", StreamRecorder)).close()
        await asyncio.sleep(0)
    assert len(caplog.records) == 1
    assert "anyone on the way can read" in caplog.text


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port
