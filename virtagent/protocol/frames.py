"""Frames: a 16-byte header with a seeded check, and resynchronisation by scanning (docs/protocol.md, section F).

The reader owns the receive buffer, so a transport can receive straight into it. Neither side ever raises for what
a peer sends (rule F8).
"""

from __future__ import annotations

import struct
from typing import Final
from zlib import crc32

from virtagent.protocol.limits import MAX_HELLO

__all__ = ["FrameReader", "FrameWriter", "encode_hello_frame", "session_seed"]

MAGIC: Final = 0xC156
MAGIC_BYTES: Final = b"\xc1\x56"
HEADER: Final = struct.Struct(">HIIHI")
HEADER_SIZE: Final = 16
PREFIX: Final = struct.Struct(">HIIH")
PREFIX_SIZE: Final = 12
CHECK: Final = struct.Struct(">I")
CHECK_SIZE: Final = 4
TAGS: Final = struct.Struct(">II")

HELLO: Final = 0
GOODBYE: Final = 1
ALIVE: Final = 2
PING: Final = 3
PONG: Final = 4
MESSAGE: Final = 5
BATCH: Final = 6
FRAGMENT: Final = 7
ABORT: Final = 8
DATA: Final = 9
CREDIT: Final = 10
RESET: Final = 11

MESSAGE_WORD: Final = MESSAGE << 24

FLAG_ACKNOWLEDGEMENT: Final = 0x10
FLAG_LAST: Final = 0x10
FLAG_END: Final = 0x10
FLAG_FIRST: Final = 0x20
FLAG_ERROR: Final = 0x40

GAP: Final = 0x100
"""Not on the wire: what the reader reports instead of a frame whose sequence is not the expected one, or whose
payload fails its check (rules F4, F5). The session is over: :meth:`FrameReader.leave` or begin another."""

FROM_CANDIDATE: Final = 0x200
"""Not on the wire: set on the kind of a frame under the seed of an establishment still in progress (rule H5)."""

FIRST_BUFFER: Final = 4 * 1024
"""Bytes of a new connection's buffer: what hellos and most calls need. Clearing more would be felt in connecting."""

INITIAL_BUFFER: Final = 64 * 1024
"""Bytes of the buffer from the first read on that filled the first one."""

KEPT_FILLS: Final = 16
"""How often a buffer that has grown is filled without need of its size before it is exchanged for a small one."""

Frame = tuple[int, int, memoryview]
"""Kind with its flags, stream field, payload. The payload is valid only until the reader's next call."""

NOTHING: Final = memoryview(b"")


def session_seed(sender_tag: int, receiver_tag: int) -> int:
    """The seed of the checks of one direction of a session (rule F2)."""
    return crc32(TAGS.pack(sender_tag, receiver_tag))


def encode_hello_frame(payload: bytes) -> bytes:
    """A whole HELLO frame: seed 0, sequence 0, payload check always (rules F2, F4, F5)."""
    head = PREFIX.pack(MAGIC, HELLO << 24 | len(payload), 0, 0)
    check = crc32(head)
    return b"".join((head, CHECK.pack(check), payload, CHECK.pack(crc32(payload, check))))


class FrameWriter:
    """The sending side of one direction of one session."""

    __slots__ = ("check_payload", "seed", "sequence")

    def __init__(self, seed: int, *, check_payload: bool) -> None:
        self.seed = seed
        self.check_payload = check_payload
        self.sequence = 0

    def message(self, payload: bytes) -> bytes:
        """A MESSAGE frame: what :meth:`frame` gives, for the path that every call takes."""
        sequence = self.sequence
        self.sequence = (sequence + 1) & 0xFFFF
        head = PREFIX.pack(MAGIC, MESSAGE_WORD | len(payload), 0, sequence)
        check = crc32(head, self.seed)
        if self.check_payload:
            return b"".join((head, CHECK.pack(check), payload, CHECK.pack(crc32(payload, check))))
        return b"".join((head, CHECK.pack(check), payload))

    def frame(self, kind: int, stream: int, payload: bytes) -> bytes:
        """One whole frame in one piece, for small payloads."""
        head = PREFIX.pack(MAGIC, kind << 24 | len(payload), stream, self.sequence)
        self.sequence = (self.sequence + 1) & 0xFFFF
        check = crc32(head, self.seed)
        if self.check_payload and payload:
            return b"".join((head, CHECK.pack(check), payload, CHECK.pack(crc32(payload, check))))
        return b"".join((head, CHECK.pack(check), payload))

    def joined(self, kind: int, parts: list[bytes]) -> bytes:
        """One whole frame in one piece, for many small parts: each is copied once."""
        length = sum(map(len, parts))
        head = PREFIX.pack(MAGIC, kind << 24 | length, 0, self.sequence)
        self.sequence = (self.sequence + 1) & 0xFFFF
        check = crc32(head, self.seed)
        if not self.check_payload:
            return b"".join((head, CHECK.pack(check), *parts))
        payload = b"".join(parts)
        return b"".join((head, CHECK.pack(check), payload, CHECK.pack(crc32(payload, check))))

    def pieces(self, kind: int, stream: int, parts: list[bytes | memoryview]) -> list[bytes | memoryview]:
        """One frame as a list of buffers, the payload's never copied, for large payloads."""
        length = sum(map(len, parts))
        head = PREFIX.pack(MAGIC, kind << 24 | length, stream, self.sequence)
        self.sequence = (self.sequence + 1) & 0xFFFF
        check = crc32(head, self.seed)
        out: list[bytes | memoryview] = [head + CHECK.pack(check), *parts]
        if self.check_payload and length:
            for part in parts:
                check = crc32(part, check)
            out.append(CHECK.pack(check))
        return out


class FrameReader:
    """The receiving side: one buffer, the scan for frames, and their checks.

    Attributes:
        limit: largest payload accepted at the moment (rule F3).
        start, end: where in the buffer the bytes are that are not yet part of a frame.
        noise: bytes skipped that belonged to no frame (rules F3, F6).
        pad: bytes of pad skipped (rule F6).
        bad_payloads: frames whose payload failed its check (rule F5).
    """

    __slots__ = (
        "_buffer",
        "_candidate",
        "_check_payload",
        "_expected",
        "_fills_left",
        "_need",
        "_seed",
        "_view",
        "bad_payloads",
        "end",
        "limit",
        "noise",
        "pad",
        "start",
    )

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray(FIRST_BUFFER)
        self._view = memoryview(self._buffer)
        self.start = 0
        self.end = 0
        self._fills_left = 0  # of a buffer that has grown
        self._need = HEADER_SIZE
        self._seed: int | None = None
        self._expected = 0
        self._check_payload = True
        self._candidate: tuple[int, bool] | None = None
        self.limit = limit
        self.noise = 0
        self.pad = 0
        self.bad_payloads = 0

    # -- which session's frames are accepted -------------------------------------------------------------------

    def begin(self, seed: int, *, check_payload: bool, expected: int = 0) -> None:
        """Accept the frames of a new session, and no other's."""
        self._seed = seed
        self._expected = expected
        self._check_payload = check_payload
        self._candidate = None
        self._need = HEADER_SIZE

    def leave(self) -> None:
        """Accept hellos only."""
        self._seed = None
        self._candidate = None
        self._need = HEADER_SIZE

    def expect_candidate(self, seed: int | None, *, check_payload: bool = True) -> None:
        """Accept also frame 0 under this seed (rule H5); None: no longer."""
        self._candidate = None if seed is None else (seed, check_payload)
        self._need = HEADER_SIZE

    # -- bytes in ----------------------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Where to receive to; never empty. Report with :meth:`received`."""
        if self.start == self.end:
            if self._fills_left:
                self._shrink_when_idle()
            self.start = self.end = 0
            return self._view
        if self.end == FIRST_BUFFER == len(self._buffer):
            self._exchange(INITIAL_BUFFER)
        if self.start:
            self._compact()
        wanted = self._need + HEADER_SIZE
        if wanted > len(self._buffer):
            self._grow(wanted)
        return self._view[self.end :]

    def received(self, count: int) -> None:
        """``count`` bytes were written at the start of what :meth:`get_buffer` gave."""
        self.end += count

    def feed(self, data: bytes | bytearray | memoryview) -> int:
        """Copy in what fits, and return how much; call :meth:`next_frame` until None before the next feed."""
        room = self.get_buffer()
        count = min(len(room), len(data))
        room[:count] = data[:count]
        self.end += count
        return count

    @property
    def pending(self) -> int:
        """Bytes received that are not yet part of a whole frame."""
        return self.end - self.start

    def _compact(self) -> None:
        pending = self.end - self.start
        self._view[:pending] = bytes(self._view[self.start : self.end])
        self.start, self.end = 0, pending

    def _grow(self, size: int) -> None:
        self._exchange(size + INITIAL_BUFFER)
        self._fills_left = KEPT_FILLS

    def _exchange(self, size: int) -> None:
        buffer = bytearray(size)
        buffer[: self.end] = self._view[: self.end]
        self._buffer, self._view = buffer, memoryview(buffer)

    def _shrink_when_idle(self) -> None:
        """One large frame must not hold its memory as long as the connection lives; many in a row may."""
        if self.end > INITIAL_BUFFER:
            self._fills_left = KEPT_FILLS
            return
        self._fills_left -= 1
        if not self._fills_left:
            buffer = bytearray(INITIAL_BUFFER)
            self._buffer, self._view = buffer, memoryview(buffer)

    # -- frames out --------------------------------------------------------------------------------------------

    def only_message(self) -> memoryview | None:
        """The payload, if what was received is exactly the MESSAGE frame that is expected, without payload check.

        All else is left as it is, for :meth:`next_frame`.
        """
        start = self.start
        end = self.end
        body = start + HEADER_SIZE
        seed = self._seed
        if seed is None or self._check_payload or not body <= end <= body + self.limit:
            return None
        # The expected header, to be found there: comparing costs less than taking apart what is there.
        expected = self._expected
        head = PREFIX.pack(MAGIC, MESSAGE_WORD | end - body, 0, expected)
        if not self._buffer.startswith(head + CHECK.pack(crc32(head, seed)), start):
            return None
        self.start = end
        self._need = HEADER_SIZE
        self._expected = (expected + 1) & 0xFFFF
        return self._view[body:end]

    def next_frame(self) -> Frame | None:
        """The next whole frame, or None when more bytes are needed."""
        while self.end - self.start >= self._need:
            start = self.start
            magic, word, stream, sequence, check = HEADER.unpack_from(self._buffer, start)
            kind = word >> 24
            length = word & 0xFFFFFF
            if magic != MAGIC or length > (self.limit if kind & 15 else MAX_HELLO):
                self._skip()
                continue
            origin = self._origin(kind, check, crc_of=self._view[start : start + PREFIX_SIZE])
            if origin < 0:
                self._skip()
                continue
            checked = length and self._payload_is_checked(origin)
            total = HEADER_SIZE + length + (CHECK_SIZE if checked else 0)
            if self.end - start < total:
                self._need = total
                return None
            body = start + HEADER_SIZE
            payload = self._view[body : body + length]
            if checked and crc32(payload, check) != CHECK.unpack_from(self._buffer, body + length)[0]:
                self.bad_payloads += 1
                self._skip()
                # Go on only where headers nested in the body cannot each cost a check of all that follows.
                if origin != ORIGIN_SESSION:
                    if origin == ORIGIN_CANDIDATE:
                        self._candidate = None
                    continue
            else:
                self.start = start + total
                self._need = HEADER_SIZE
                if origin == ORIGIN_SESSION and sequence == self._expected:
                    self._expected = (sequence + 1) & 0xFFFF
                    return kind, stream, payload
                if origin == ORIGIN_HELLO:
                    return kind, stream, payload
                if origin == ORIGIN_CANDIDATE:
                    if sequence == 0:
                        return kind | FROM_CANDIDATE, stream, payload
                    continue
            return GAP, sequence, NOTHING
        return None

    def _origin(self, kind: int, check: int, *, crc_of: memoryview) -> int:
        if kind & 15 == HELLO:
            return ORIGIN_HELLO if crc32(crc_of) == check else ORIGIN_NONE
        if self._seed is not None and crc32(crc_of, self._seed) == check:
            return ORIGIN_SESSION
        if self._candidate is not None and crc32(crc_of, self._candidate[0]) == check:
            return ORIGIN_CANDIDATE
        return ORIGIN_NONE

    def _payload_is_checked(self, origin: int) -> bool:
        if origin == ORIGIN_SESSION:
            return self._check_payload
        if origin == ORIGIN_CANDIDATE and self._candidate is not None:
            return self._candidate[1]
        return True

    def _skip(self) -> None:
        """Give up the byte at the start and go to the next possible frame (rules F3, F6)."""
        start = self.start
        found = self._buffer.find(MAGIC_BYTES, start + 1, self.end)
        if found < 0:
            found = self.end
            if found - 1 > start and self._buffer[found - 1] == MAGIC_BYTES[0]:
                found -= 1
        zeros = self._buffer.count(0, start, found)
        self.pad += zeros
        self.noise += found - start - zeros
        self.start = found
        self._need = HEADER_SIZE


ORIGIN_NONE: Final = -1
ORIGIN_HELLO: Final = 0
ORIGIN_SESSION: Final = 1
ORIGIN_CANDIDATE: Final = 2
