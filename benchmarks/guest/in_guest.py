"""Runs in the guest, with the standard library only: the most that a virtio port can do, by blocking calls.

``python3 in_guest.py PORT FILE``. The host asks in messages of SIZE bytes. One that begins with ``E`` comes back as it
is. ``W`` and eight bytes with a number are answered with that many bytes, ``F`` and the same with as many of the file.
"""

from __future__ import annotations

import os
import sys
import time

SIZE = 64
"""Bytes of a request, and of an echo."""

PIECE = 256 * 1024
"""Bytes that one write offers; the driver takes up to 32 KiB of them."""

CHUNK = 64 * 1024
"""Bytes of one read of the file, as our agent reads it."""

NOBODY = 0.01
"""Seconds between two looks at a port to which no host is connected: it reads as at its end."""


def serve(port: int, file: int) -> None:
    """Answer for ever."""
    pending = b""
    while True:
        piece = os.read(port, 4096)
        if not piece:
            time.sleep(NOBODY)
            continue
        pending += piece
        while len(pending) >= SIZE:
            request, pending = pending[:SIZE], pending[SIZE:]
            size = int.from_bytes(request[1:9], "big")
            if request[:1] == b"E":
                os.write(port, request)
            elif request[:1] == b"W":
                write_zeros(port, size)
            else:
                write_file(port, file, size)


def write_zeros(port: int, size: int) -> None:
    """As many bytes as wanted, as fast as the port takes them."""
    zeros = memoryview(bytes(PIECE))
    while size:
        size -= os.write(port, zeros[:size])


def write_file(port: int, file: int, size: int) -> None:
    """The file from its beginning."""
    for start in range(0, size, CHUNK):
        chunk = memoryview(os.pread(file, min(CHUNK, size - start), start))
        while chunk:
            chunk = chunk[os.write(port, chunk) :]


if __name__ == "__main__":
    serve(os.open(sys.argv[1], os.O_RDWR), os.open(sys.argv[2], os.O_RDONLY))
