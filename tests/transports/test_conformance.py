"""Every transport passes the public conformance kit, on asyncio's loop and on uvloop's."""

from __future__ import annotations

import asyncio
import os
import pty
import socket
import sys
import tty
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from virtagent.testing.transports import Pair, Recorder, StreamRecorder, check_transport, url_pair
from virtagent_transports import ChannelFacts, connect
from virtagent_transports.facts import ProtocolFactory
from virtagent_transports.fd_transport import FdTransport
from virtagent_transports.stdio import StdioTransport
from virtagent_transports.virtio import VirtioTransport

if TYPE_CHECKING:
    from .certificates import Authority

FACTS = ChannelFacts(scheme="test", name="test")


async def socket_end(sock: socket.socket, factory: ProtocolFactory) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
    protocol = factory(FACTS)
    transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: protocol, sock=sock)
    return transport, protocol


async def test_unix(short_tmp: Path) -> None:
    await check_transport(url_pair(f"unix:{short_tmp}/s"))


async def test_unix_abstract() -> None:
    await check_transport(url_pair(f"unix:@virtagent-test-{os.getpid()}"))


async def test_tcp() -> None:
    await check_transport(url_pair("tcp:127.0.0.1:0"))


async def test_tls(authority: Authority) -> None:
    await check_transport(url_pair(f"tls:127.0.0.1:0?{authority.options('node')}&verify=chain"))


async def test_stdio_over_a_socket() -> None:
    async def make(near: ProtocolFactory, far: ProtocolFactory) -> Pair:
        ours, theirs = socket.socketpair()
        protocol = near(FACTS)
        transport = StdioTransport(asyncio.get_running_loop(), protocol, os.dup(ours.fileno()), ours.detach())
        transport.start()
        return transport, protocol, *await socket_end(theirs, far)

    await check_transport(make, copies=True)


async def test_stdio_over_pipes() -> None:
    async def make(near: ProtocolFactory, far: ProtocolFactory) -> Pair:
        loop = asyncio.get_running_loop()
        (r1, w1), (r2, w2) = os.pipe(), os.pipe()
        a, b = near(FACTS), far(FACTS)
        first, second = StdioTransport(loop, a, r1, w2), StdioTransport(loop, b, r2, w1)
        first.start()
        second.start()
        return first, a, second, b

    await check_transport(make, copies=True)


async def test_serial_over_a_pty() -> None:
    async def make(near: ProtocolFactory, far: ProtocolFactory) -> Pair:
        master, slave = pty.openpty()
        tty.setraw(slave)
        path = os.ttyname(slave)
        os.set_blocking(master, False)
        a_transport, a = await connect(f"serial:{path}", near)
        os.close(slave)
        b = far(FACTS)
        other = FdTransport(asyncio.get_running_loop(), b, master, master)
        other.start()
        return a_transport, a, other, b

    await check_transport(make, copies=True)


async def test_virtio_over_a_socketpair() -> None:
    async def make(near: ProtocolFactory, far: ProtocolFactory) -> Pair:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        protocol = near(FACTS)
        transport = VirtioTransport(asyncio.get_running_loop(), protocol, ours.detach())
        transport.start()
        return transport, protocol, *await socket_end(theirs, far)

    await check_transport(make, copies=True)


HAND_OVER = """
import socket, sys
with socket.socket(socket.AF_UNIX) as to:
    to.connect(sys.argv[1])
    socket.send_fds(to, [b'.'], [0])
"""


async def test_exec(short_tmp: Path) -> None:
    script = short_tmp / "hand_over.py"
    script.write_text(HAND_OVER)

    async def make(near: ProtocolFactory, far: ProtocolFactory) -> Pair:
        """The child hands its standard input back to us: the far end is what a child would have."""
        loop = asyncio.get_running_loop()
        with socket.create_server(str(short_tmp / "fd"), family=socket.AF_UNIX) as server:
            server.setblocking(False)
            first = await connect(f"exec:{sys.executable} -S -E {script} {short_tmp}/fd", near)
            sock, _ = await loop.sock_accept(server)
        with sock:
            ready = asyncio.Event()
            loop.add_reader(sock, ready.set)
            await ready.wait()
            loop.remove_reader(sock)
            _, fds, _, _ = socket.recv_fds(sock, 1, 1)
        (short_tmp / "fd").unlink()
        return *first, *await socket_end(socket.socket(fileno=fds[0]), far)

    await check_transport(make, copies=True)


# -- the kit itself catches what it is for ------------------------------------------------------------------------


class Broken(FdTransport):
    """A correct transport to break in one way."""


class DeliversWhilePaused(Broken):
    def pause_reading(self) -> None:
        self._paused = True


class LosesTheQueue(Broken):
    def close(self) -> None:
        self.abort()


class TellsTheEndTwice(Broken):
    def _connection_lost(self, error: Exception | None) -> None:
        super()._connection_lost(error)
        super()._connection_lost(error)


class KeepsReferences(Broken):
    def writelines(self, list_of_data: object) -> None:
        pass


class NeverPausesItsProtocol(Broken):
    def _pause_protocol(self) -> None:
        pass


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (DeliversWhilePaused, "pause_reading"),
        (LosesTheQueue, "before close"),
        (TellsTheEndTwice, "after connection_lost|2 times"),
        (KeepsReferences, "writelines"),
        (NeverPausesItsProtocol, "pause_writing"),
    ],
)
async def test_the_kit_names_the_broken_promise(broken: type[FdTransport], complaint: str) -> None:
    async def make(near: ProtocolFactory, far: ProtocolFactory) -> Pair:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        protocol = near(FACTS)
        transport = broken(asyncio.get_running_loop(), protocol, ours.fileno(), ours.detach())
        transport.start()
        return transport, protocol, *await socket_end(theirs, far)

    with pytest.raises(AssertionError, match=complaint):
        await check_transport(make, timeout=0.3)


async def test_a_recorder_says_what_it_waited_for() -> None:
    recorder = StreamRecorder(FACTS)
    assert isinstance(recorder, Recorder)
    with pytest.raises(AssertionError, match=r"test: the moon did not happen within 0.01 s \(0 bytes received"):
        await recorder.until(lambda: False, "the moon", 0.01)
