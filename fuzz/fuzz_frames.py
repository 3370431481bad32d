"""Fuzzes the frame parser: it never raises, never holds more than a frame, and counts every byte (rules F3, F6, F8).

Allowed exceptions: none.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.driver import main
from virtagent.protocol.frames import FROM_CANDIDATE, GAP, FrameReader, FrameWriter, encode_hello_frame

LIMIT = 512
SEED, CANDIDATE = 0x1234, 0x5678
MOST_HELD = 1024 + 20


def corpus() -> list[bytes]:
    """Valid frames of every kind and origin, in one run of bytes each."""
    session, candidate = FrameWriter(SEED, check_payload=True), FrameWriter(CANDIDATE, check_payload=False)
    frames = [session.frame(kind, kind, bytes(kind * 7)) for kind in range(1, 16)]
    return [
        b"".join(frames),
        encode_hello_frame(bytes(100)) + frames[0],
        candidate.frame(5, 0, b"first") + candidate.frame(5, 0, b"second"),
        bytes(100) + frames[0] + b"noise\xc1\xc1V" + frames[1],
    ]


def target(data: bytes) -> None:
    """The first byte tells in which portions the rest is read."""
    reader = FrameReader(LIMIT)
    reader.begin(SEED, check_payload=bool(data) and data[0] % 2 == 0)
    reader.expect_candidate(CANDIDATE, check_payload=False)
    step = 1 + (data[0] if data else 0)
    for start in range(1, len(data), step):
        view = memoryview(data)[start : start + step]
        while view:
            view = view[reader.feed(view) :]
            while (frame := reader.next_frame()) is not None:
                kind, _, payload = frame
                assert len(payload) <= max(LIMIT, 1024)
                if kind == GAP:
                    reader.leave()
                elif kind & FROM_CANDIDATE:
                    reader.begin(CANDIDATE, check_payload=False, expected=1)
            assert reader.pending <= MOST_HELD
    assert reader.noise + reader.pad <= len(data)


if __name__ == "__main__":
    main(target, [b"\xff" + data for data in corpus()] + [b"\x00" + data for data in corpus()])
