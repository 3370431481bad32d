"""Our own transport over sockets, and its acceptor."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from virtagent.testing.transports import BufferedRecorder, StreamRecorder
from virtagent_transports import connect, listen
from virtagent_transports.socket_transport import Acceptor, SocketTransport, connected, is_selector_loop
from virtagent_transports.sockets import borrowed

from .support import BOUND, FACTS, lost, received

FRAME = 256 * 1024


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        yield ours, theirs


class Accepted:
    """Makes protocols for connections, and gives them as they come."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[StreamRecorder] = asyncio.Queue()

    def __call__(self, facts: Any = FACTS) -> StreamRecorder:
        recorder = StreamRecorder(facts)
        self.queue.put_nowait(recorder)
        return recorder

    async def next(self) -> StreamRecorder:
        async with asyncio.timeout(BOUND):
            return await self.queue.get()


def ours_is_used() -> bool:
    return is_selector_loop(asyncio.get_running_loop())


async def test_a_socket_of_asyncios_loop_has_our_transport_and_of_another_loop_its_own(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    protocol = StreamRecorder(FACTS)
    transport, made = await connected(protocol, pair[0])
    assert made is protocol
    assert isinstance(transport, SocketTransport) is ours_is_used()
    pair[1].sendall(b"hello")
    await received(protocol, b"hello")
    transport.close()
    assert await lost(protocol) is None


async def test_a_whole_frame_fits_the_send_buffer(short_tmp: Path) -> None:
    accepted = Accepted()
    async with await listen(f"unix:{short_tmp}/s", accepted):
        transport, mine = await connect(f"unix:{short_tmp}/s", StreamRecorder)
        theirs = await accepted.next()
        assert theirs.transport is not None
        for end in (transport, theirs.transport) if ours_is_used() else (transport,):
            with borrowed(end) as sock:
                assert sock is not None
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) > FRAME
        transport.close()
        await lost(mine)
        await lost(theirs)


async def test_an_error_of_the_socket_is_told_to_the_protocol(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = BufferedRecorder(FACTS)
    transport = SocketTransport(asyncio.get_running_loop(), protocol, pair[0])
    transport.start()

    def reset(buffer: Any) -> int:
        raise ConnectionResetError(errno.ECONNRESET, "reset")

    monkeypatch.setattr(transport, "_recv_into", reset)
    pair[1].sendall(b"x")
    assert isinstance(await lost(protocol), ConnectionResetError)


@pytest.mark.parametrize("size", [1, 1000, 3_000_000])
async def test_pieces_arrive_whole_and_in_order_whether_the_socket_takes_all_or_a_part(
    pair: tuple[socket.socket, socket.socket], size: int
) -> None:
    ours, theirs = pair
    sender, receiver = StreamRecorder(FACTS), BufferedRecorder(FACTS)
    loop = asyncio.get_running_loop()
    theirs.setblocking(False)
    mine = SocketTransport(loop, sender, ours)
    other = SocketTransport(loop, receiver, theirs.dup())
    mine.start()
    other.start()
    wide = memoryview(bytes(range(256)) * 8).cast("Q")
    written: list[bytes | memoryview] = [b"head", bytes(size), b"", memoryview(b"x" * size), wide, b"tail"]
    expected = b"".join(bytes(piece) for piece in written)
    mine.writelines(written)
    mine.write(b"after")
    mine.writelines([b"and ", b"last"])
    await received(receiver, expected + b"afterand last")
    mine.close()
    assert await lost(receiver) is None
    await lost(sender)


async def test_pieces_for_a_socket_that_is_gone_end_the_connection(pair: tuple[socket.socket, socket.socket]) -> None:
    protocol = BufferedRecorder(FACTS)
    transport = SocketTransport(asyncio.get_running_loop(), protocol, pair[0])
    transport.start()
    pair[1].close()
    transport.writelines([b"a", b"b"])
    assert isinstance(await lost(protocol), BrokenPipeError)


class Flawed(asyncio.BufferedProtocol):
    """A protocol with a defect in one of its methods."""

    def __init__(self, flaw: str) -> None:
        self.flaw = flaw
        self.ended = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint: int) -> bytearray:
        if self.flaw == "get_buffer":
            raise ZeroDivisionError
        return bytearray(16)

    def buffer_updated(self, nbytes: int) -> None:
        raise ZeroDivisionError

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(exc)


@pytest.mark.parametrize("flaw", ["get_buffer", "buffer_updated"])
async def test_a_protocols_defect_ends_its_connection_and_is_reported(
    pair: tuple[socket.socket, socket.socket], flaw: str
) -> None:
    reports: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reports.append(context["message"]))
    protocol = Flawed(flaw)
    SocketTransport(loop, protocol, pair[0]).start()
    pair[1].sendall(b"x")
    async with asyncio.timeout(BOUND):
        assert isinstance(await protocol.ended, ZeroDivisionError)
    assert reports == [f"protocol.{flaw}() failed"]


class Exhausted:
    """A listening socket in a process that has no descriptors left, then has some again."""

    def __init__(self, sock: socket.socket, failures: int) -> None:
        self._sock = sock
        self.failures = failures

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self._sock.accept()

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()


async def test_without_descriptors_it_pauses_and_then_accepts_who_waited(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("virtagent_transports.socket_transport.ACCEPT_PAUSE", 0.0)
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
        listening.setblocking(False)
        listening.bind(str(short_tmp / "s"))
        listening.listen()
        client.connect(str(short_tmp / "s"))
        accepted = Accepted()
        exhausted = Exhausted(listening, 2)
        acceptor = Acceptor(asyncio.get_running_loop(), accepted, exhausted)  # type: ignore[arg-type]
        theirs = await accepted.next()
        assert exhausted.failures == 0
        assert caplog.text.count("Too many open files") == 2
        acceptor.close()
        acceptor.close()
        assert theirs.transport is not None
        theirs.transport.abort()
        await lost(theirs)


async def test_a_factory_that_fails_costs_its_connection_only(short_tmp: Path) -> None:
    reports: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context["exception"]))
    accepted = Accepted()
    failures = [ZeroDivisionError()]

    def accept(facts: Any) -> StreamRecorder:
        if failures:
            raise failures.pop()
        return accepted(facts)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.setblocking(False)
        listening.bind(str(short_tmp / "s"))
        listening.listen()
        acceptor = Acceptor(asyncio.get_running_loop(), lambda: accept(FACTS), listening)
        _, refused = await connect(f"unix:{short_tmp}/s", StreamRecorder)
        await lost(refused)
        transport, mine = await connect(f"unix:{short_tmp}/s", StreamRecorder)
        theirs = await accepted.next()
        assert [type(each) for each in reports] == [ZeroDivisionError]
        transport.close()
        await lost(mine)
        await lost(theirs)
        acceptor.close()
