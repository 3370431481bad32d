"""Writing to the systemd journal with fields, by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""

from __future__ import annotations

import socket
from collections.abc import Mapping

__all__ = ["SOCKET", "JournalSocket", "encode_entry"]

SOCKET = "/run/systemd/journal/socket"

LARGEST = 64 * 1024
"""Bytes of an entry; longer ones would need a file to be handed over."""


def encode_entry(fields: Mapping[str, str]) -> bytes:
    """An entry as the journal reads it: ``NAME=value`` lines, and values with line ends by their length."""
    parts = []
    for name, value in fields.items():
        data = value.encode("utf-8", "backslashreplace")
        key = name.encode("ascii")
        if b"\n" in data:
            parts += [key, b"\n", len(data).to_bytes(8, "little"), data, b"\n"]
        else:
            parts += [key, b"=", data, b"\n"]
    return b"".join(parts)


class JournalSocket:
    """Sends entries without ever waiting.

    Args:
        path: the journal's socket.

    Attributes:
        dropped: entries that the journal did not take in time, because it hangs or has too much to do.
    """

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self.dropped = 0

    def send(self, fields: Mapping[str, str]) -> bool:
        """Send one entry.

        Returns:
            False if there is no journal; what it does not take is counted.
        """
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._socket.sendto(encode_entry(fields)[:LARGEST], self._path)
        except (FileNotFoundError, ConnectionRefusedError, PermissionError):
            self.close()
            return False
        except OSError:
            self.dropped += 1
        return True

    def close(self) -> None:
        """Send no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
