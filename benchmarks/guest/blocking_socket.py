"""A unix socket whose calls block in the kernel, and for a bounded time all the same."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

__all__ = ["TIMEOUT", "blocking_socket"]

TIMEOUT = 60
"""Seconds that a send or a receive may take; then it raises BlockingIOError."""


def blocking_socket(path: Path) -> socket.socket:
    """Connect to `path`.

    Not by ``settimeout``: Python then calls poll(2) before each receive, and what is measured is to be the channel.
    """
    connected = socket.socket(socket.AF_UNIX)
    try:
        bound = struct.pack("ll", TIMEOUT, 0)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bound)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)
        connected.connect(str(path))
    except OSError:
        connected.close()
        raise
    return connected
