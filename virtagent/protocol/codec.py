"""Values to bytes and back: msgpack with this protocol's rules for values (docs/protocol.md, section V)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgpack

from virtagent.errors import CallError, UnknownError, UsageError, error_from_wire

__all__ = ["Codec", "MessageHead", "is_well_formed", "message_head", "peer_error"]

EXT_STREAM: Final = 1
"""Ext type of a stream's reference (rule T1)."""

MessageHead = tuple[int, int | None]
"""A message's type, and its id if it has one."""

TEXT_ERRORS: Final = "surrogateescape"

LARGEST_KEPT: Final = 256 * 1024
"""Bytes of a value after which its packer is not kept: its buffer has twice the size, and never becomes smaller."""

PACKER_BUFFER: Final = 4096
UNPACKER_BUFFER: Final = 1024
"""Bytes at the start; both grow by themselves. The defaults cost a peer half a MiB, and each stream of items 45 KiB."""

UNSENDABLE: Final = (TypeError, ValueError, OverflowError, RecursionError)
"""What msgpack raises for values that it cannot encode."""


class Codec:
    """Packs and unpacks with one packer, which keeps its buffer until something large has been packed.

    Args:
        encode_special: makes an ext value of an object that msgpack does not know (a stream), or raises TypeError.
        decode_stream: makes a stream of the data of a stream's reference, or raises ValueError.

    Attributes:
        packer: the packer itself, for who handles :data:`UNSENDABLE`, and calls :meth:`renew` after what is large.
        unpack: decodes one value; raises ValueError for what is not one acceptable value (:func:`is_well_formed`
            tells whether it is msgpack at all).
    """

    __slots__ = ("_encode_special", "_ext_hook", "packer", "unpack")

    def __init__(
        self,
        encode_special: Callable[[Any], msgpack.ExtType] | None = None,
        decode_stream: Callable[[bytes], Any] | None = None,
    ) -> None:
        def ext_hook(code: int, data: bytes) -> Any:
            if code == EXT_STREAM and decode_stream is not None:
                return decode_stream(data)
            return msgpack.ExtType(code, data)

        self._encode_special = encode_special
        self._ext_hook = ext_hook
        self.packer = self._new_packer()
        unpackb = msgpack.unpackb

        def unpack(data: bytes | bytearray | memoryview) -> Any:  # a partial costs twice as much
            return unpackb(data, timestamp=3, unicode_errors="surrogateescape", ext_hook=ext_hook)

        self.unpack: Callable[[bytes | bytearray | memoryview], Any] = unpack

    def _new_packer(self) -> msgpack.Packer:
        return msgpack.Packer(  # type: ignore[call-arg]  # the types do not know of buf_size
            default=self._encode_special, datetime=True, unicode_errors=TEXT_ERRORS, buf_size=PACKER_BUFFER
        )

    def renew(self) -> None:
        """Take another packer, and give back the buffer that the last value has filled."""
        self.packer = self._new_packer()

    def pack(self, value: Any) -> bytes:
        """Encode one value.

        Raises:
            UsageError: it has something that cannot be sent (rules V3, V5); the message tells what.
        """
        try:
            data = self.packer.pack(value)
        except UNSENDABLE as error:
            self.renew()
            raise unsendable(error) from error
        if len(data) > LARGEST_KEPT:
            self.renew()
        return data

    def scan(self, data: bytes) -> None:
        """Show every stream's reference to ``decode_stream``; whatever else is wrong is passed over."""
        try:
            msgpack.unpackb(
                data, strict_map_key=False, object_pairs_hook=list, unicode_errors=TEXT_ERRORS, ext_hook=self._ext_hook
            )
        except (ValueError, msgpack.StackError):
            return

    def unpacker(self, limit: int) -> msgpack.Unpacker:
        """A streaming decoder for a stream's items or a plain channel; no item may be longer than ``limit`` bytes."""
        return msgpack.Unpacker(
            timestamp=3,
            unicode_errors=TEXT_ERRORS,
            ext_hook=self._ext_hook,
            max_buffer_size=limit,
            read_size=min(UNPACKER_BUFFER, limit),
        )


def peer_error(value: Any) -> CallError:
    """The exception for an error value of the peer, even where an application's class or ``repr`` cannot take it."""
    try:
        return error_from_wire(value)
    except Exception:  # a class of the application, or a value nested too deeply to be shown
        return UnknownError("an error that cannot be shown", data=value)


def unsendable(error: Exception) -> UsageError:
    """The error for the user of a value that cannot be encoded (rules V3, V5 to V7)."""
    return UsageError(f"this cannot be sent: {error}; send plain data (see docs/protocol.md, section V)")


def is_well_formed(data: bytes | memoryview, count: int | None = None) -> list[int] | None:
    """Find the ends of the values in ``data`` without building them.

    Args:
        data: one value; or, with ``count``, that many values one after the other.
        count: how many values there must be; None for one.

    Returns:
        The offsets at which the values end, or None where this is not exactly that many msgpack values.
    """
    unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=len(data) + 1)
    unpacker.feed(data)
    ends = []
    try:
        for _ in range(1 if count is None else count):
            unpacker.skip()
            ends.append(unpacker.tell())
    except (ValueError, msgpack.OutOfData, msgpack.StackError):
        return None
    return ends if (ends[-1] if ends else 0) == len(data) else None


def message_head(data: bytes | bytearray | memoryview) -> MessageHead | None:
    """Read only the type and id of a message, of which the rest may be missing or unacceptable (rules C2, P6)."""
    unpacker = msgpack.Unpacker(max_buffer_size=64)
    unpacker.feed(bytes(data[:24]))
    try:
        length = unpacker.read_array_header()
        kind = unpacker.unpack() if length else None
        if type(kind) is not int or not 0 <= kind <= 3:
            return None
        if kind == 2:
            return kind, None
        identifier = unpacker.unpack() if length > 1 else None
    except (ValueError, msgpack.OutOfData, msgpack.StackError):
        return None
    return (kind, identifier) if type(identifier) is int and identifier >= 0 else None
