"""The common transport: misbehaving protocols, the linear queue, the bound on close."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.testing.transports import BufferedRecorder, StreamRecorder
from virtagent_transports.fd_transport import FdTransport
from virtagent_transports.write_queue import WriteQueue

from .support import FACTS, lost, received


def made(protocol: asyncio.BaseProtocol) -> tuple[FdTransport, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    fd = ours.detach()
    transport = FdTransport(asyncio.get_running_loop(), protocol, fd, fd)
    transport.start()
    return transport, theirs


class NoRoom(BufferedRecorder):
    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(bytearray())


class Raises(StreamRecorder):
    def data_received(self, data: bytes) -> None:
        raise ZeroDivisionError("in the protocol")


class RaisesAtTheEnd(StreamRecorder):
    def eof_received(self) -> bool | None:
        raise ZeroDivisionError("in the protocol")


@pytest.mark.parametrize(
    ("kind", "words"), [(NoRoom, "get_buffer"), (Raises, "data_received"), (RaisesAtTheEnd, "eof_received")]
)
async def test_an_error_of_the_protocol_is_reported_and_ends_the_connection(
    kind: type[StreamRecorder], words: str
) -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    protocol = kind(FACTS)
    _, far = made(protocol)
    far.send(b"x") if kind is not RaisesAtTheEnd else far.close()
    assert isinstance(await lost(protocol), RuntimeError | ZeroDivisionError)
    assert words in reports[0]["message"]
    far.close()


async def test_a_protocol_may_stay_after_the_peers_end_of_output() -> None:
    class Stays(StreamRecorder):
        def eof_received(self) -> bool | None:
            super().eof_received()
            return True

    protocol = Stays(FACTS)
    transport, far = made(protocol)
    far.shutdown(socket.SHUT_WR)
    await protocol.until(lambda: "eof_received" in protocol.calls, "eof_received", 5)
    transport.write(b"still here")
    assert far.recv(100) == b"still here"
    transport.close()
    await lost(protocol)
    far.close()


async def test_another_protocol_of_the_other_kind_can_take_over() -> None:
    first, second = StreamRecorder(FACTS), BufferedRecorder(FACTS)
    transport, far = made(first)
    transport.set_protocol(second)
    second.calls.append("connection_made")
    assert transport.get_protocol() is second
    far.send(b"x")
    await received(second, b"x")
    transport.close()
    await lost(second)
    far.close()


async def test_a_closing_transport_gives_up_on_a_peer_that_never_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FdTransport, "stall_limit", 0.02)
    protocol = StreamRecorder(FACTS)
    transport, far = made(protocol)
    transport.write(bytes(8 << 20))
    transport.close()
    await lost(protocol)
    far.close()


async def test_the_descriptor_is_free_again_in_connection_lost() -> None:
    class Looks(StreamRecorder):
        def connection_lost(self, exc: Exception | None) -> None:
            assert self.transport is not None
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(fd)
            super().connection_lost(exc)

    protocol = Looks(FACTS)
    transport, far = made(protocol)
    fd = transport._read_fd
    transport.close()
    await lost(protocol)
    far.close()


async def test_limits_are_checked_and_told() -> None:
    protocol = StreamRecorder(FACTS)
    transport, far = made(protocol)
    assert transport.get_write_buffer_limits() == (16384, 65536)
    transport.set_write_buffer_limits(low=100)
    assert transport.get_write_buffer_limits() == (100, 400)
    with pytest.raises(ValueError, match="must be >= low"):
        transport.set_write_buffer_limits(high=1, low=2)
    with pytest.raises(TypeError):
        transport.write("text")  # type: ignore[arg-type]
    assert not transport.can_write_eof()
    with pytest.raises(NotImplementedError):
        transport.write_eof()
    assert "open" in repr(transport)
    transport.abort()
    assert "closed" in repr(transport)
    await lost(protocol)
    far.close()


async def test_a_forgotten_transport_warns_and_closes_its_descriptor() -> None:
    ours, theirs = socket.socketpair()
    fd = ours.detach()
    holder = [FdTransport(asyncio.get_running_loop(), StreamRecorder(FACTS), fd, fd)]
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        holder.clear()
    assert theirs.recv(1) == b""
    theirs.close()


@given(st.lists(st.binary(max_size=300), max_size=90), st.integers(1, 400), st.booleans())
def test_the_queue_writes_everything_in_order_however_little_each_write_takes(
    pieces: list[bytes], bound: int, joined: bool
) -> None:
    queue = WriteQueue(bound, joined=joined)
    reader, writer = os.pipe()
    try:
        for piece in pieces:
            queue.append(memoryview(piece))
        assert queue.size == sum(map(len, pieces))
        got = b""
        while queue:
            sent = queue.send(writer)
            assert 0 < sent <= bound
            got += os.read(reader, sent)
        assert got == b"".join(pieces)
        assert queue.size == 0
    finally:
        os.close(reader)
        os.close(writer)


def test_the_queue_keeps_bytes_and_copies_what_can_change() -> None:
    queue = WriteQueue(1 << 20)
    fixed, loose = bytes(1000), bytearray(1000)
    for view in (memoryview(fixed), memoryview(fixed)[10:20], memoryview(loose), memoryview(loose).toreadonly()):
        queue.append(view)
    kept = [piece.obj is fixed for piece in queue._pieces]
    assert kept == [True, True, False, False]
    assert not any(piece.obj is loose for piece in queue._pieces)
