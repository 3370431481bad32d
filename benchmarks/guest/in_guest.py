"""Runs in the guest, with the standard library only: the least that a virtio port can do, an echo of blocking calls.

``python3 in_guest.py PORT``. The host asks in messages of SIZE bytes: one that begins with ``E`` comes back as it is;
``W`` and eight bytes with a number are answered with that many bytes, as fast as the port takes them.
"""

from __future__ import annotations

import os
import sys
import time

SIZE = 64
"""Bytes of a request, and of an echo."""

PIECE = 256 * 1024
"""Bytes that one write offers; the driver takes up to 32 KiB of them."""

NOBODY = 0.01
"""Seconds between two looks at a port to which no host is connected: it reads as at its end."""


def serve(port: int) -> None:
    """Answer for ever."""
    zeros = memoryview(bytes(PIECE))
    pending = b""
    while True:
        piece = os.read(port, 4096)
        if not piece:
            time.sleep(NOBODY)
            continue
        pending += piece
        while len(pending) >= SIZE:
            request, pending = pending[:SIZE], pending[SIZE:]
            if request[:1] == b"E":
                os.write(port, request)
            else:
                left = int.from_bytes(request[1:9], "big")
                while left:
                    left -= os.write(port, zeros[:left])


if __name__ == "__main__":
    serve(os.open(sys.argv[1], os.O_RDWR))
