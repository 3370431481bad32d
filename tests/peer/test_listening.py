"""Listeners: many clients, too many, and what their first byte tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest

import virtagent.peer.link
from virtagent.errors import ChannelUnavailable, MethodNotFound, PeerGone, SessionLost, UsageError
from virtagent.peer.connecting import Connecting, ConnectingPeer
from virtagent.peer.context import Context
from virtagent.peer.handler import Handler
from virtagent.peer.listening import Listening
from virtagent.peer.options import PeerOptions
from virtagent.peer.peer import Peer
from virtagent.peer.state import PeerState
from virtagent.protocol.limits import Limits

from .support import ECHO, Gate, handler

REAL_TIME = True
BOUND = 10.0


@asynccontextmanager
async def connected(url: str, *handlers: Handler, plain: bool = False) -> AsyncIterator[ConnectingPeer]:
    async with Connecting(lambda: ConnectingPeer(url, handlers, PeerOptions(), plain=plain), timeout=BOUND) as peer:
        yield peer


async def eventually(condition: Any) -> None:
    """Wait until a condition on another socket's side holds; the loop polls its sockets meanwhile."""
    async with asyncio.timeout(BOUND):
        while not condition():
            await asyncio.sleep(0)


class PlainClient:
    """A msgpack-RPC client that knows nothing of us: raw msgpack over a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._unpacker = msgpack.Unpacker()

    @classmethod
    @asynccontextmanager
    async def connected(cls, path: Path) -> AsyncIterator[PlainClient]:
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            yield cls(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()

    def send(self, message: Any) -> None:
        self.writer.write(msgpack.packb(message))

    async def receive(self) -> Any:
        async with asyncio.timeout(BOUND):
            while True:
                for message in self._unpacker:
                    return message
                data = await self.reader.read(4096)
                if not data:
                    return None
                self._unpacker.feed(data)


async def test_many_clients_are_served_each_as_a_peer_of_its_own(short_tmp: Path) -> None:
    """Rules H12, X1: the acceptor speaks when it was spoken to."""
    arrived: list[Peer] = []

    def whoami(ctx: Context) -> int:
        return arrived.index(ctx.peer)

    async with Listening(f"unix:{short_tmp}/s", [handler(whoami)], on_peer=arrived.append) as listening:
        peers = [await Connecting(lambda: ConnectingPeer(listening.url, [ECHO], PeerOptions())) for _ in range(20)]
        assert await asyncio.gather(*(peer.call("whoami") for peer in peers)) == list(range(20))
        assert await asyncio.gather(*(peer.call("echo", 1) for peer in arrived)) == [1] * 20
        await asyncio.gather(*(peer.aclose() for peer in peers))
        await eventually(lambda: not listening.peers)


async def test_who_asks_for_sessions_once_it_is_up_is_told_of_later_ones_only(short_tmp: Path) -> None:
    """Whoever waits for the session runs where it is established."""
    told: list[Peer] = []
    async with (
        Listening(f"unix:{short_tmp}/s", [ECHO]) as listening,
        Connecting(lambda: ConnectingPeer(listening.url, [], PeerOptions())) as peer,
    ):
        peer.on_session = told.append
        await peer.call("echo")
        assert told == []


async def test_too_many_clients_are_turned_away(short_tmp: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rule L1."""
    async with Listening(f"unix:{short_tmp}/s", [ECHO], most_peers=1) as listening:
        async with connected(listening.url) as peer:
            async with PlainClient.connected(short_tmp / "s") as second:
                assert await second.receive() is None
            assert await peer.call("echo", 1) == 1
            assert "one more was turned away" in caplog.text
        await eventually(lambda: not listening.peers)
        async with connected(listening.url) as peer:
            assert await peer.call("echo", 2) == 2


async def test_a_client_that_the_server_closes_frees_its_place(short_tmp: Path) -> None:
    async with Listening(f"unix:{short_tmp}/s", [ECHO], most_peers=1) as listening, connected(listening.url) as peer:
        (accepted,) = listening.peers
        await accepted.aclose("stop")
        assert not listening.peers
        await eventually(lambda: peer.state is not PeerState.UP)
        await peer.wait_ready(BOUND)  # it comes back
        assert await peer.call("echo", 1) == 1


async def test_a_listener_that_closes_says_goodbye_to_all(short_tmp: Path) -> None:
    """Rule G1."""
    gate = Gate()
    listening = await Listening(f"unix:{short_tmp}/s", [gate.handler], PeerOptions(drain=0.01)).start()
    forever = asyncio.create_task(listening.serve_forever())
    async with connected(listening.url) as peer:
        call = asyncio.create_task(peer.call("gate"))
        await gate.entered.wait()
        await listening.aclose("reboot")
        with pytest.raises(PeerGone) as caught:
            await call
        assert caught.value.reason == "reboot"
    await forever


async def test_a_client_that_dies_ends_what_it_left_running(short_tmp: Path) -> None:
    """Rule G5."""
    gate = Gate()
    async with Listening(f"unix:{short_tmp}/s", [gate.handler]) as listening, connected(listening.url) as peer:
        call = asyncio.create_task(peer.call("gate"))
        await gate.entered.wait()
        assert peer.channel is not None
        peer.channel.abort()
        with pytest.raises(SessionLost):
            await call
        await gate.ended.wait()
        assert gate.cancelled == 1


async def test_a_plain_msgpack_rpc_client_calls_notifies_and_is_called(short_tmp: Path) -> None:
    """Rules X1, X3, X4, C3."""
    noted: asyncio.Queue[Any] = asyncio.Queue()

    async def back(ctx: Context, value: Any) -> Any:
        return await ctx.peer.call("theirs", value)

    async def streaming(ctx: Context) -> Any:
        await ctx.peer.ping()

    handlers = [ECHO, handler(back), handler(streaming), handler(lambda _, value: noted.put_nowait(value), "note")]
    async with Listening(f"unix:{short_tmp}/s", handlers) as listening:
        async with PlainClient.connected(short_tmp / "s") as client:
            client.send([0, 1, "echo", [{"a": b"b"}]])
            assert await client.receive() == [1, 1, None, {"a": b"b"}]
            client.send([2, "note", ["hello"]])
            assert await noted.get() == "hello"
            client.send([0, 2, "back", [5]])
            request = await client.receive()
            assert request[0] == 0
            assert request[2:] == ["theirs", [5]]
            client.send([1, request[1], None, 6])
            assert await client.receive() == [1, 2, None, 6]
            client.send([0, 3, "back", [5]])
            client.send([1, (await client.receive())[1], "any text is an error", None])
            assert (await client.receive())[2][:2] == [2, "any text is an error"]
            client.send([0, 4, "not.there", []])
            assert (await client.receive())[2][0] == MethodNotFound.code
            client.send([0, 5, "streaming", []])
            assert (await client.receive())[2][0] == 13
            (peer,) = listening.peers
            with pytest.raises(UsageError, match="X3"):
                await peer.ping()
        await eventually(lambda: not listening.peers)


async def test_plain_input_that_is_not_msgpack_rpc_ends_the_channel(short_tmp: Path) -> None:
    """Rule X4."""
    async with Listening(f"unix:{short_tmp}/s", [ECHO]) as listening:
        for rest in (b"\x94\xc1", b"\x93\x09\x01\x01", b"\x94\x90\x01\x01"):
            async with PlainClient.connected(short_tmp / "s") as client:
                client.writer.write(rest + bytes(10))
                assert await client.receive() is None
            await eventually(lambda: not listening.peers)


async def test_our_own_connector_speaks_plain_if_told(short_tmp: Path) -> None:
    """Rules X2, X3."""
    async with (
        Listening(f"unix:{short_tmp}/s", [ECHO], PeerOptions(limits=Limits(message=1000))) as listening,
        connected(listening.url, plain=True) as peer,
    ):
        assert await peer.call("echo", [1, "x"]) == [1, "x"]
        with pytest.raises(UsageError):
            await peer.ping()


async def test_garbage_is_closed_and_reported(short_tmp: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rule X1."""
    async with Listening(f"unix:{short_tmp}/s", [ECHO]) as listening:
        async with PlainClient.connected(short_tmp / "s") as client:
            client.writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await client.receive() is None
        await eventually(lambda: not listening.peers)
    assert "neither frames nor msgpack-RPC (first byte 0x47)" in caplog.text


@pytest.mark.interpreted  # a Final constant is in the code when compiled
async def test_a_client_that_says_nothing_is_closed_after_a_while(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule X1: 10 seconds; shortened here, since real sockets know no virtual time."""
    assert virtagent.peer.link.FIRST_BYTE_TIMEOUT == 10
    monkeypatch.setattr(virtagent.peer.link, "FIRST_BYTE_TIMEOUT", 0.05)
    async with Listening(f"unix:{short_tmp}/s", [ECHO]) as listening:
        async with PlainClient.connected(short_tmp / "s") as client:
            assert await client.receive() is None
        await eventually(lambda: not listening.peers)


async def test_a_missing_socket_is_one_clear_line(short_tmp: Path) -> None:
    with pytest.raises(ChannelUnavailable, match="there is no such socket") as caught:
        await Connecting(lambda: ConnectingPeer(f"unix:{short_tmp}/none", [], PeerOptions()))
    assert "\n" not in str(caught.value)


async def test_a_connector_waits_for_a_server_that_comes_later(short_tmp: Path) -> None:
    url = f"unix:{short_tmp}/s"
    waiting = asyncio.create_task(
        Connecting(lambda: ConnectingPeer(url, [], PeerOptions()), wait=True, timeout=BOUND).start(ready=True)
    )
    await asyncio.sleep(0)
    async with Listening(url, [ECHO]):
        peer = await waiting
        assert await peer.call("echo", 1) == 1
        await peer.aclose()


async def test_a_client_finds_a_restarted_server_by_itself(short_tmp: Path) -> None:
    """Rule G5."""
    url = f"unix:{short_tmp}/s"
    first = await Listening(url, [ECHO]).start()
    async with connected(url) as peer:
        await first.aclose("stop")
        await eventually(lambda: peer.state is not PeerState.UP)
        waiting = asyncio.create_task(peer.call("echo", "again"))
        async with Listening(url, [ECHO]):
            assert await waiting == "again"
            await peer.aclose()


def test_two_event_loops_in_one_process_work(short_tmp: Path) -> None:
    """One loop serves in a thread, the other calls from here."""
    import threading

    url, ready, stop = f"unix:{short_tmp}/s", threading.Event(), threading.Event()

    async def serve() -> None:
        async with Listening(url, [ECHO]):
            ready.set()
            await asyncio.to_thread(stop.wait, BOUND)

    async def call() -> None:
        async with connected(url) as peer:
            assert await peer.call("echo", 1) == 1

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(BOUND)
        asyncio.run(call())
    finally:
        stop.set()
        thread.join(BOUND)
    assert not thread.is_alive()


FORKER = """
import asyncio, os, sys
from virtagent.errors import UsageError
from virtagent.peer.connecting import Connecting, ConnectingPeer
from virtagent.peer.options import PeerOptions

async def main():
    peer = await Connecting(lambda: ConnectingPeer(sys.argv[1], [], PeerOptions()))
    pid = os.fork()
    if pid == 0:
        try:
            for use in (lambda: peer.call("echo", 1), lambda: peer.wait_ready(1)):
                try:
                    await use()
                except UsageError as error:
                    print(error, flush=True)
            try:
                peer.notify("echo", 1)
            except UsageError:
                print("notify too", flush=True)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    print(await peer.call("echo", "the parent goes on"), flush=True)
    await peer.aclose()

asyncio.run(main())
"""


async def test_a_fork_is_noticed_in_the_child_and_harmless_in_the_parent(short_tmp: Path) -> None:
    import sys

    async with Listening(f"unix:{short_tmp}/s", [ECHO]) as listening:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FORKER, listening.url, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(child.communicate(), 30)
    lines = output.decode().splitlines()
    assert "forked" in lines[0]
    assert "connect again in the child" in lines[0]
    assert lines[-2:] == ["notify too", "the parent goes on"]
    assert child.returncode == 0
