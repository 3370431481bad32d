"""What the socket transports share."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from typing import Any, cast

__all__ = ["Connected", "borrowed", "connect_socket", "hold_a_frame", "keep_alive", "paired"]

Connected = tuple[asyncio.Transport, asyncio.BaseProtocol]

KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES = 30, 10, 3
"""A dead host is noticed after a minute; the kernel's own default is more than two hours (tcp(7))."""


def paired(connected: tuple[asyncio.BaseTransport, asyncio.BaseProtocol]) -> Connected:
    """What the loop's ``create_*connection`` gave, with the type that it really has."""
    return cast("asyncio.Transport", connected[0]), connected[1]


SEND_BUFFER = 212_992
"""Bytes of a Unix socket's send buffer that anybody may ask for (net.core.wmem_max, socket(7)); the kernel takes twice
that, which holds a frame of 256 KiB. A new socket's does not, and its writer stops in the midst of each frame."""


def hold_a_frame(sock: socket.socket) -> None:
    """Make a Unix socket take a whole frame at once."""
    if sock.family == socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


@contextlib.contextmanager
def borrowed(transport: asyncio.BaseTransport) -> Iterator[socket.socket | None]:
    """A real socket object on a transport's file, closed again at the end; None where there is no socket.

    asyncio's ``TransportSocket`` and uvloop's ``PseudoSocket`` allow different things; a duplicate allows all.
    """
    inner = transport.get_extra_info("socket")
    fd = inner.fileno() if inner is not None else -1
    if fd < 0:
        yield None
        return
    with socket.socket(fileno=os.dup(fd)) as sock:
        yield sock


def keep_alive(sock: socket.socket) -> None:
    """No delay, and keep-alive probes. Connections inherit both from the listening socket that accepts them."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


async def connect_socket(sock: socket.socket, address: object) -> None:
    """Connect a non-blocking socket of any family (loops' ``sock_connect`` knows AF_VSOCK only by luck).

    Raises:
        OSError: what the kernel said. EAGAIN is an error here: a Unix socket's backlog is full, and nothing is
            under way (asyncio takes it for EINPROGRESS, reports success, and the first read fails with EINVAL).
    """
    error = sock.connect_ex(cast("Any", address))
    if error == errno.EINPROGRESS:
        loop = asyncio.get_running_loop()
        writable = asyncio.Event()
        loop.add_writer(sock.fileno(), writable.set)
        try:
            await writable.wait()
        finally:
            loop.remove_writer(sock.fileno())
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))
