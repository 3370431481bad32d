"""Which protocols a Wayland compositor has (The Wayland Protocol, chapter 4, "Wire format")."""

from __future__ import annotations

import asyncio
import os
import struct

__all__ = ["list_globals", "socket_path"]

DISPLAY, REGISTRY, CALLBACK = 1, 2, 3
"""Objects: the first is always there, the others are named by us."""

SYNC, GET_REGISTRY = 0, 1
"""Requests of wl_display."""

GLOBAL, DONE = 0, 0
"""Events of wl_registry and wl_callback."""

PATIENCE = 5.0
MOST_MESSAGES = 4096


def socket_path(display: str) -> str:
    """Where a compositor listens: ``display`` is a name below ``$XDG_RUNTIME_DIR``, or a path."""
    return os.path.join(os.environ.get("XDG_RUNTIME_DIR", "/run"), display)


async def list_globals(display: str) -> set[str]:
    """The names of the compositor's protocols.

    Raises:
        OSError, TimeoutError, EOFError: there is no compositor, or it does not answer.
    """
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_unix_connection(socket_path(display))
        try:
            writer.write(_request(DISPLAY, GET_REGISTRY, REGISTRY) + _request(DISPLAY, SYNC, CALLBACK))
            found: set[str] = set()
            for _ in range(MOST_MESSAGES):
                sender, word = struct.unpack("=II", await reader.readexactly(8))
                event, size = word & 0xFFFF, word >> 16
                body = await reader.readexactly(max(size - 8, 0))
                if (sender, event) == (CALLBACK, DONE):
                    break
                if (sender, event) == (REGISTRY, GLOBAL):
                    found.add(_interface(body))
            return found
        finally:
            writer.close()


def _request(target: int, opcode: int, new: int) -> bytes:
    return struct.pack("=III", target, 12 << 16 | opcode, new)


def _interface(body: bytes) -> str:
    """Of an event ``global``: its number, the length of a text that ends with NUL, the text, a version."""
    if len(body) < 8:
        return ""
    (length,) = struct.unpack_from("=I", body, 4)
    return body[8 : 8 + length].rstrip(b"\0").decode(errors="replace")
