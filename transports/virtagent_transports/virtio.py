"""``virtio:NAME`` or ``virtio:/dev/virtio-ports/NAME``: a virtio-serial port, from inside the guest.

Option: ``wait=yes`` waits for a port that is not there yet; otherwise a missing port is ChannelUnavailable at once.

How the port behaves (drivers/char/virtio_console.c, and measured)::

    host state                    poll            read          write
    not connected                 IN|HUP          b''           EAGAIN
    connected, idle               OUT             EAGAIN        ok, at most 32768 bytes
    connected, data               IN|OUT          data          ok
    gone, unread data             IN|HUP          data, b''     EAGAIN
    unplugged                     HUP             ENODEV        ENODEV

A level-triggered loop spins on HUP as long as no host is there (25 000 callbacks per second), so whoever waits for a
host watches edge-triggered, in an epoll of its own. Once one is there the loop watches the port itself, which is two
system calls less per message: HUP then ends the transport, or its writes. A host that disconnects and connects again
at once shows no HUP at all: the protocol above has to find the new session in the bytes (``ChannelFacts.stale``).
"""

from __future__ import annotations

import asyncio
import errno
import glob
import os
import select
from collections.abc import Iterable

from virtagent.errors import ChannelBusy, ChannelError, ChannelUnavailable, UrlError

from .facts import ChannelFacts, ProtocolFactory
from .fd_transport import FdTransport
from .holders import access_remedy, holder_of, reason
from .inotify import wait_until
from .sockets import Connected
from .url import ChannelUrl
from .write_queue import Bytes, WriteQueue

__all__ = ["OPTIONS", "PATH_TARGET", "VirtioTransport", "check", "connect", "wait_for_node"]

OPTIONS = frozenset({"wait"})
PATH_TARGET = True

DEVICES = "/dev"
SYSFS = "/sys/class/virtio-ports"
MAX_WRITE = 32768
"""Bytes that the driver takes in one write."""

LARGEST_READ = 4096
"""Bytes that the driver gives in one read; after less there is probably no more, and the loop tells if there is."""

READS_PER_TURN = 16
"""Full reads in a turn, which so moves up to 64 KiB."""

NAME_RECHECK = 1.0
"""Seconds. A port's node appears in /dev a moment before its name in sysfs, of which no event tells."""


def check(url: ChannelUrl) -> None:
    """Refuse a missing name."""
    if not url.target:
        raise UrlError("virtio: needs a port: write virtio:org.virtagent.0 (names: cat /sys/class/virtio-ports/*/name)")
    url.flag("wait")


async def connect(url: ChannelUrl, protocol_factory: ProtocolFactory) -> Connected:
    """Open the port and wait until a host is connected to it; see :func:`virtagent_transports.connect`."""
    path = await wait_for_node(url.target) if url.flag("wait") else _find(url.target)
    if path is None:
        raise ChannelUnavailable(
            f"cannot open {url.redacted()}: the virtual machine has no such port; give QEMU -device virtserialport,"
            f"name={os.path.basename(url.target)}, or add wait=yes (there are: {', '.join(_names()) or 'none'})"
        )
    loop = asyncio.get_running_loop()
    try:
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise _problem(url, path, error) from error
    try:
        await host_connected(fd, url.redacted())
        protocol = protocol_factory(_facts(url))
    except BaseException:
        os.close(fd)
        raise
    transport = VirtioTransport(loop, protocol, fd, url.redacted())
    transport.start()
    return transport, protocol


async def wait_for_node(target: str) -> str:
    """Wait for a port, given by name or path; returns the path of its device. Cancelling leaves nothing behind."""
    if "/" in target:
        return await wait_until(lambda: _find(target), [target])
    near = [f"{DEVICES}/virtio-ports/{target}", f"{DEVICES}/vport"]
    return await wait_until(lambda: _find(target), near, recheck=NAME_RECHECK)


async def host_connected(fd: int, name: str) -> None:
    """Wait until the port says that it is writable and not hung up: a host is there.

    Raises:
        ChannelUnavailable: the port was unplugged.
    """
    loop = asyncio.get_running_loop()
    now = select.poll()
    now.register(fd, select.POLLIN | select.POLLOUT)
    woken = asyncio.Event()
    with select.epoll() as epoll:
        epoll.register(fd, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)

        def on_edge() -> None:
            epoll.poll(0)
            woken.set()

        loop.add_reader(epoll.fileno(), on_edge)
        try:
            while True:
                woken.clear()
                state = dict(now.poll(0)).get(fd, 0)
                if state & select.POLLOUT and not state & select.POLLHUP:
                    return
                if state == select.POLLHUP:
                    raise ChannelUnavailable(f"{name} was unplugged")
                await woken.wait()
        finally:
            loop.remove_reader(epoll.fileno())


class VirtioTransport(FdTransport):
    """One host's connection to a port. It ends with ``connection_lost(None)`` when the host disconnects.

    Then everything unwritten is dropped: written later it would reach the next host in the middle of a message.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, protocol: asyncio.BaseProtocol, fd: int, name: str = "virtio"
    ) -> None:
        super().__init__(loop, protocol, fd, fd, max_write=MAX_WRITE)
        # The driver has write(2) only: of a writev(2) each piece would be a buffer, a kick and a write of QEMU's.
        self._queue = WriteQueue(MAX_WRITE, joined=True)
        self._name = name
        self._hung_up = False
        self._hang_ups: select.epoll | None = None

    def _watch_reads(self) -> None:
        self._forget_hang_ups()
        super()._watch_reads()
        if self._hung_up:  # if another host is there already, nothing tells of it any more
            self._loop.call_soon(self._read_ready)

    def _unwatch_reads(self) -> None:
        super()._unwatch_reads()
        if not self._finished:  # closing, or paused: no read tells when the host goes
            self._hang_ups = select.epoll()
            self._hang_ups.register(self._read_fd, select.EPOLLET)  # hang-ups and errors are always told
            self._loop.add_reader(self._hang_ups.fileno(), self._on_hang_up)

    def _forget_hang_ups(self) -> None:
        if self._hang_ups is not None:
            self._loop.remove_reader(self._hang_ups.fileno())
            self._hang_ups.close()
            self._hang_ups = None

    def _on_hang_up(self) -> None:
        self._forget_hang_ups()
        self._hung_up = True
        self._drop_writes()

    def _read_ready(self) -> None:
        for _ in range(READS_PER_TURN):
            if not self._reading:
                return
            if self._read_once() < LARGEST_READ and not self._hung_up:
                return
        if self._hung_up:
            self._loop.call_soon(self._read_ready)

    def _nothing_to_read(self) -> None:
        if self._hung_up:  # and another host is there already: that is a new session
            self._lose(None)

    def _end_of_input(self) -> None:
        self._lose(None)

    def _read_failed(self, error: OSError) -> None:
        lost = ChannelUnavailable(f"{self._name} was unplugged" if error.errno == errno.ENODEV else reason(error))
        lost.__cause__ = error
        self._lose(lost)

    def write(self, data: Bytes) -> None:
        if not self._hung_up:
            super().write(data)

    def writelines(self, list_of_data: Iterable[Bytes]) -> None:
        if not self._hung_up:
            super().writelines(list_of_data)

    def _drop_writes(self) -> None:
        self._queue.clear()
        self._unwatch_writes()
        self._resume_protocol()
        if self._closing:
            self._lose(None)

    def _release(self) -> None:
        self._forget_hang_ups()
        super()._release()


def _facts(url: ChannelUrl) -> ChannelFacts:
    return ChannelFacts(
        scheme="virtio",
        name=url.redacted(),
        stale=True,
        speaks_first=True,
        max_write=MAX_WRITE,
        exclusive=True,
    )


def _find(target: str) -> str | None:
    """The device of a port; in a guest without udev there are no links, but sysfs knows the names."""
    if "/" in target:
        return target if os.path.exists(target) else None
    link = f"{DEVICES}/virtio-ports/{target}"
    if os.path.exists(link):
        return link
    device = next((device for name, device in _ports() if name == target), None)
    return device if device is not None and os.path.exists(device) else None


def _ports() -> list[tuple[str, str]]:
    ports = []
    for path in sorted(glob.glob(f"{glob.escape(SYSFS)}/*/name")):
        with open(path, encoding="utf-8", errors="replace") as file:
            ports.append((file.read().strip(), f"{DEVICES}/{os.path.basename(os.path.dirname(path))}"))
    return ports


def _names() -> list[str]:
    return [name for name, _ in _ports()]


def _problem(url: ChannelUrl, path: str, error: OSError) -> ChannelError:
    start = f"cannot open {url.redacted()}"
    match error.errno:
        case errno.EBUSY:
            holder = holder_of(path)
            return ChannelBusy(f"{start}: {holder or 'another program'} holds it; stop that first", holder=holder)
        case errno.EACCES | errno.EPERM:
            return ChannelUnavailable(f"{start}: no permission: {access_remedy(path)}")
        case errno.ENXIO | errno.ENODEV | errno.ENOENT:
            return ChannelUnavailable(f"{start}: the port was unplugged; plug it in again (device_add virtserialport)")
    return ChannelUnavailable(f"{start}: {reason(error)}")
