"""The host's end of ``in_guest.py``: a blocking socket, and no more than the port itself costs."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.guest.blocking_socket import blocking_socket
from benchmarks.guest.in_guest import SIZE

__all__ = ["BlockingChannel"]

RECEIVE = 1 << 20
"""Bytes that one receive takes at most."""


class BlockingChannel:
    """A connection to the guest's echo."""

    def __init__(self, path: Path) -> None:
        self._socket = blocking_socket(path)

    def __enter__(self) -> BlockingChannel:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def echo(self) -> None:
        """SIZE bytes to the guest and back."""
        self._socket.sendall(b"E".ljust(SIZE, b"."))
        missing = SIZE
        while missing:
            missing -= len(self._received(missing))

    def raw_rate(self, size: int) -> float:
        """Bytes per second from the guest to here, over `size` bytes that it has at hand."""
        return self._rate(b"W", size)

    def file_rate(self, size: int) -> float:
        """The same for the first `size` bytes of the guest's file."""
        return self._rate(b"F", size)

    def _rate(self, kind: bytes, size: int) -> float:
        buffer = bytearray(RECEIVE)
        started = time.perf_counter()
        self._socket.sendall((kind + size.to_bytes(8, "big")).ljust(SIZE, b"."))
        left = size
        while left:
            received = self._socket.recv_into(buffer, min(left, RECEIVE))
            if not received:
                raise ConnectionError("QEMU closed the port's socket")
            left -= received
        return size / (time.perf_counter() - started)

    def _received(self, size: int) -> bytes:
        data = self._socket.recv(size)
        if not data:
            raise ConnectionError("QEMU closed the port's socket")
        return data
