"""Every bound that a peer can run into, in one place (rule L1; docs/protocol.md, section L gives the precedents)."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["MAX_HELLO", "MAX_METADATA", "MAX_METHOD_NAME", "Limits"]

KIB: Final = 1024
MIB: Final = 1024 * KIB

MAX_HELLO: Final = 1024
"""Bytes of a hello's payload; the same on every channel, since a hello comes before any agreement (section L)."""

MAX_METADATA: Final = 16
"""Keys in a message's metadata (rule C10)."""

MAX_METHOD_NAME: Final = 255
"""Bytes of a method's name (rule C1); D-Bus has the same."""

SERIAL_FRAME_SECONDS: Final = 0.05
"""Line time of the largest frame on a serial line: what a ping may have to wait for (rule P7)."""


class Limits(NamedTuple):
    """What one side accepts from its peer. Sizes are bytes.

    Attributes:
        frame: payload of one frame.
        message: one message, encoded.
        reassembly: all messages under reassembly together (rule P6).
        transfers: messages under reassembly at one time.
        calls: open calls from the peer (rule C5); calls nested in ours have the same number again (rule C6).
        depth: how deep the two peers' handlers may call each other back.
        notifications: notifications that wait for their handler (rule C9).
        streams: open streams that the peer opened (rule T9).
        window: credit that every stream owns from its start (rule T5).
        surplus: credit beyond that, shared by all streams.
        largest_window: what one stream may take of it.
        send_buffer: bytes that a stream holds for sending before ``write`` waits.
    """

    frame: int = 256 * KIB
    message: int = 16 * MIB
    reassembly: int = 64 * MIB
    transfers: int = 64
    calls: int = 1024
    depth: int = 64
    notifications: int = 1024
    streams: int = 1024
    window: int = 64 * KIB
    surplus: int = 64 * MIB
    largest_window: int = 4 * MIB
    send_buffer: int = 512 * KIB

    @classmethod
    def for_channel(cls, *, stale: bool = False, lossless: bool = True, line_rate: int | None = None) -> Limits:
        """The limits of a channel's class, from its facts.

        Args:
            stale: the channel may hold bytes of an older session (a virtio port, a serial line).
            lossless: the channel neither loses nor damages bytes.
            line_rate: bytes per second of a slow line, or None.
        """
        if not lossless or line_rate is not None:
            return SERIAL.with_line_rate(line_rate)
        return VIRTIO if stale else SOCKET

    def with_line_rate(self, line_rate: int | None) -> Limits:
        """These limits with the frame fitted to 50 ms of line time, at least 256 bytes and at most what it is now."""
        if line_rate is None:
            return self
        return self._replace(frame=max(256, min(self.frame, int(line_rate * SERIAL_FRAME_SECONDS))))


SOCKET: Final = Limits()
VIRTIO: Final = Limits(frame=64 * KIB, largest_window=1 * MIB)
SERIAL: Final = Limits(
    frame=2 * KIB,
    message=1 * MIB,
    reassembly=2 * MIB,
    transfers=16,
    calls=64,
    depth=16,
    notifications=256,
    streams=32,
    window=2 * KIB,
    surplus=64 * KIB,
    largest_window=8 * KIB,
    send_buffer=8 * KIB,
)
