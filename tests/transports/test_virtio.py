"""The virtio port over fakes that show the states of the real one; a real one is in the VM tests.

A TCP socket that is not connected yet polls OUT|HUP and, once connected, OUT: a port before and after its host came.
A Unix socket pair whose other end closed polls IN|HUP, gives its unread data and then b'': a port whose host went.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from virtagent.errors import ChannelBusy, ChannelUnavailable
from virtagent.testing.transports import BufferedRecorder, Recorder, StreamRecorder
from virtagent_transports import ChannelFacts, ChannelUrl, connect, virtio
from virtagent_transports.virtio import VirtioTransport

from .support import FACTS, lost, received


@pytest.fixture
def guest(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty /dev and /sys of a guest."""
    monkeypatch.setattr(virtio, "DEVICES", str(short_tmp / "dev"))
    monkeypatch.setattr(virtio, "SYSFS", str(short_tmp / "sys"))
    (short_tmp / "dev").mkdir()
    (short_tmp / "sys").mkdir()
    return short_tmp


def port(*, buffered: bool = False) -> tuple[VirtioTransport, Recorder, socket.socket]:
    """A connected port, and its host's socket."""
    ours, host = socket.socketpair()
    ours.setblocking(False)
    protocol = BufferedRecorder(FACTS) if buffered else StreamRecorder(FACTS)
    transport = VirtioTransport(asyncio.get_running_loop(), protocol, ours.detach())
    transport.start()
    return transport, protocol, host


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class FakePort:
    """Opens a TCP socket in the place of a port; ``host_comes`` connects it."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host: socket.socket | None = None
        self.fd = -1
        self.path = path
        path.touch()
        real = os.open

        def opener(name: str, flags: int, mode: int = 0o777) -> int:
            if name != str(path):
                return real(name, flags, mode)
            sock = socket.socket()
            sock.setblocking(False)
            self.fd = sock.detach()
            return self.fd

        monkeypatch.setattr(os, "open", opener)

    def host_comes(self) -> None:
        with socket.socket(fileno=os.dup(self.fd)) as sock:
            sock.connect_ex(self.listener.getsockname())
        self.host, _ = self.listener.accept()

    def close(self) -> None:
        self.listener.close()
        if self.host is not None:
            self.host.close()


@pytest.fixture
def fake(guest: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePort]:
    made = FakePort(guest / "dev" / "vport0p1", monkeypatch)
    yield made
    made.close()


async def test_connect_completes_when_a_host_is_there(fake: FakePort) -> None:
    connecting = asyncio.ensure_future(connect(f"virtio:{fake.path}", StreamRecorder))
    await turns()
    assert not connecting.done()
    fake.host_comes()
    async with asyncio.timeout(5):
        transport, protocol = await connecting
    assert isinstance(protocol, StreamRecorder)
    assert protocol.facts == ChannelFacts(
        scheme="virtio",
        name=f"virtio:{fake.path}",
        stale=True,
        speaks_first=True,
        max_write=32768,
        exclusive=True,
    )
    transport.close()
    await lost(protocol)


def watches_of(fd: int) -> list[int]:
    """The event masks with which this process's epolls watch a descriptor (proc(5), fdinfo)."""
    masks = []
    for each in os.listdir("/proc/self/fdinfo"):
        try:
            lines = Path(f"/proc/self/fdinfo/{each}").read_text().splitlines()
        except OSError:
            continue
        watches = (line.split() for line in lines if line.startswith("tfd:"))
        masks += [int(words[3], 16) for words in watches if int(words[1]) == fd]
    return masks


async def test_waiting_for_a_host_does_not_spin(fake: FakePort) -> None:
    """A level-triggered watch calls back 25 000 times per second as long as the port is hung up."""
    connecting = asyncio.ensure_future(connect(f"virtio:{fake.path}", StreamRecorder))
    await turns(5)
    assert [bool(mask & select.EPOLLET) for mask in watches_of(fake.fd)] == [True]
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting


async def test_cancelling_connect_closes_the_port(fake: FakePort) -> None:
    connecting = asyncio.ensure_future(connect(f"virtio:{fake.path}", StreamRecorder))
    await turns(5)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fake.fd)


@pytest.mark.parametrize("buffered", [False, True])
async def test_the_hosts_last_bytes_come_before_the_end(buffered: bool) -> None:
    transport, protocol, host = port(buffered=buffered)
    host.sendall(bytes(100_000))
    host.close()
    assert await lost(protocol) is None
    assert len(protocol.received) == 100_000
    assert transport.is_closing()


def takes_nothing(transport: VirtioTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the port's writes fail as those of a real one whose host does not read, or went."""
    write, writev = os.write, os.writev

    def blocked(fd: int, data: Any) -> int:
        if fd == transport._write_fd:
            raise BlockingIOError
        return write(fd, data) if isinstance(data, bytes | bytearray | memoryview) else writev(fd, data)

    monkeypatch.setattr(os, "write", blocked)
    monkeypatch.setattr(os, "writev", blocked)


async def test_what_was_not_written_when_the_host_went_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    transport, protocol, host = port()
    takes_nothing(transport, monkeypatch)
    transport.write(bytes(4 << 20))
    assert transport.get_write_buffer_size() == 4 << 20
    transport.pause_reading()
    host.send(b"unread")
    host.close()
    await protocol.until(lambda: "resume_writing" in protocol.calls, "dropping the queue", 5)
    assert transport.get_write_buffer_size() == 0
    transport.write(b"for nobody")
    transport.writelines([b"for", b"nobody"])
    assert transport.get_write_buffer_size() == 0
    assert "connection_lost" not in protocol.calls  # unread bytes wait for resume_reading()
    transport.resume_reading()
    assert await lost(protocol) is None
    assert protocol.received == b"unread"


async def test_pieces_that_are_written_together_are_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver makes each piece of a writev(2) a buffer and a kick of its own; one write takes 32 KiB."""
    transport, _, host = port()
    writes: list[int] = []
    write = os.write

    def counted(fd: int, data: bytes | memoryview) -> int:
        writes.append(len(data))
        return write(fd, data)

    monkeypatch.setattr(os, "write", counted)
    monkeypatch.setattr(os, "writev", lambda fd, pieces: counted(fd, *pieces))  # one piece only
    transport.writelines([b"head", memoryview(b"p" * 1000), bytearray(b"tail")])
    assert writes == [1008]
    assert host.recv(4096) == b"head" + b"p" * 1000 + b"tail"
    transport.writelines([b"head", b"p" * 40_000, b"tail"])
    assert writes == [1008, 32_768, 40_008 - 32_768]
    transport.abort()
    await turns()
    host.close()


async def test_closing_ends_when_the_host_goes_before_all_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    transport, protocol, host = port()
    takes_nothing(transport, monkeypatch)
    transport.write(bytes(4 << 20))
    transport.close()
    await turns()
    assert "connection_lost" not in protocol.calls
    host.close()
    assert await lost(protocol) is None


class Reconnected(VirtioTransport):
    """A port that was hung up and has a host again: reads find nothing instead of the end."""

    def _end_of_input(self) -> None:
        self._nothing_to_read()


async def test_a_host_that_came_back_while_reading_was_paused_is_a_new_session() -> None:
    ours, host = socket.socketpair()
    ours.setblocking(False)
    protocol = StreamRecorder(FACTS)
    transport = Reconnected(asyncio.get_running_loop(), protocol, ours.detach())
    transport.start()
    transport.pause_reading()
    host.close()
    await turns()
    assert "connection_lost" not in protocol.calls
    transport.resume_reading()
    assert await lost(protocol) is None


async def test_unplugging_ends_the_connection_with_an_error() -> None:
    transport, protocol, host = port()
    transport._read_failed(OSError(errno.ENODEV, "No such device"))
    error = await lost(protocol)
    assert isinstance(error, ChannelUnavailable)
    assert "unplugged" in str(error)
    host.close()


async def test_much_data_neither_gets_stuck_nor_starves_the_loop() -> None:
    _, protocol, host = port()
    sizes: list[int] = []

    def look() -> None:
        sizes.append(len(protocol.received))
        if "connection_lost" not in protocol.calls:
            asyncio.get_running_loop().call_soon(look)

    host.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    host.setblocking(False)
    sent = 0
    try:
        while sent < 2 << 20:
            sent += host.send(bytes(4096))  # the size of the driver's reads
    except BlockingIOError:
        pass
    look()
    await protocol.until(lambda: len(protocol.received) == sent, "arrival", 5)
    host.close()
    await lost(protocol)


async def test_a_long_queue_is_written_on_when_the_host_reads() -> None:
    transport, protocol, host = port()
    data = os.urandom(3 << 20)
    transport.write(data)
    host.setblocking(False)
    loop = asyncio.get_running_loop()
    got = bytearray()
    async with asyncio.timeout(10):
        while len(got) < len(data):
            got += await loop.sock_recv(host, 1 << 16)
    assert got == data
    host.close()
    await lost(protocol)


async def test_a_missing_port_is_unavailable_at_once_and_the_others_are_named(guest: Path) -> None:
    (guest / "sys" / "vport0p1").mkdir()
    (guest / "sys" / "vport0p1" / "name").write_text("org.qemu.guest_agent.0\n")
    with pytest.raises(ChannelUnavailable, match=r"virtserialport,name=org\.x\.0.*there are: org\.qemu\.guest_agent"):
        await connect("virtio:org.x.0", StreamRecorder)


async def test_names_are_found_through_udevs_links_or_else_sysfs(guest: Path) -> None:
    (guest / "sys" / "vport2p3").mkdir()
    (guest / "sys" / "vport2p3" / "name").write_text("org.x.0\n")
    assert virtio._find("org.x.0") is None  # no device yet
    (guest / "dev" / "vport2p3").touch()
    assert virtio._find("org.x.0") == f"{guest}/dev/vport2p3"
    (guest / "dev" / "virtio-ports").mkdir()
    (guest / "dev" / "virtio-ports" / "org.x.0").symlink_to(guest / "dev" / "vport2p3")
    assert virtio._find("org.x.0") == f"{guest}/dev/virtio-ports/org.x.0"


async def test_waiting_for_a_port_ends_when_udev_makes_its_link(guest: Path) -> None:
    waiting = asyncio.ensure_future(virtio.wait_for_node("org.x.0"))
    await turns()
    assert not waiting.done()
    (guest / "dev" / "virtio-ports").mkdir()
    await turns()
    (guest / "dev" / "virtio-ports" / "org.x.0").touch()
    async with asyncio.timeout(5):
        assert await waiting == f"{guest}/dev/virtio-ports/org.x.0"


async def test_a_name_that_appears_only_in_sysfs_is_found_too(guest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtio, "NAME_RECHECK", 0.01)
    waiting = asyncio.ensure_future(virtio.wait_for_node("org.x.0"))
    (guest / "dev" / "vport0p1").touch()
    await turns()
    (guest / "sys" / "vport0p1").mkdir()
    (guest / "sys" / "vport0p1" / "name").write_text("org.x.0\n")
    async with asyncio.timeout(5):
        assert await waiting == f"{guest}/dev/vport0p1"


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EBUSY, ChannelBusy, "another program holds it; stop that first"),
        (errno.EACCES, ChannelUnavailable, "no permission: .* belongs to"),
        (errno.ENODEV, ChannelUnavailable, "unplugged"),
        (errno.EIO, ChannelUnavailable, "Input/output error"),
    ],
)
async def test_what_open_refuses_is_one_clear_line(
    guest: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception], words: str
) -> None:
    path = guest / "dev" / "vport0p1"
    path.touch()

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(kind, match=words):
            await connect(ChannelUrl.parse(f"virtio:{path}"), StreamRecorder)


async def test_data_for_both_ends_flows_after_connect(fake: FakePort) -> None:
    connecting = asyncio.ensure_future(connect(f"virtio:{fake.path}", StreamRecorder))
    await turns(5)
    fake.host_comes()
    assert fake.host is not None
    transport, protocol = await connecting
    fake.host.sendall(b"to the guest")
    await received(protocol, b"to the guest")
    transport.write(b"to the host")
    assert fake.host.recv(100) == b"to the host"
    fake.host.close()
    assert await lost(protocol) is None
