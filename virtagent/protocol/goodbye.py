"""What a goodbye carries: a reason for programs, a message for people (rule G1)."""

from __future__ import annotations

import msgpack

__all__ = ["decode_goodbye", "encode_goodbye"]

LONGEST_REASON = 32
LONGEST_MESSAGE = 128
"""Bytes; the whole fits the smallest frame limit, 256 bytes."""


def encode_goodbye(reason: str, message: str) -> bytes:
    """The payload of a GOODBYE, small enough for any frame limit."""
    content = {"reason": cut(reason, LONGEST_REASON), "message": cut(message, LONGEST_MESSAGE)}
    return msgpack.packb(content, unicode_errors="surrogateescape")


def decode_goodbye(payload: memoryview) -> tuple[str, str]:
    """The reason and message of a goodbye; whatever the peer sent gives some."""
    try:
        content = msgpack.unpackb(payload, unicode_errors="surrogateescape") if payload else {}
    except (ValueError, msgpack.StackError):
        content = {}
    if not isinstance(content, dict):
        content = {}
    reason, message = content.get("reason", ""), content.get("message", "")
    reason = reason if isinstance(reason, str) else ""
    message = message if isinstance(message, str) else ""
    return cut(reason, LONGEST_REASON) or "unknown", cut(message, LONGEST_MESSAGE)


def cut(value: str, size: int) -> str:
    """A text of at most ``size`` bytes."""
    return value.encode("utf-8", "surrogateescape")[:size].decode("utf-8", "ignore")
