"""The ring that keeps the last bytes of a job."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from virtagent.guest.output_ring import BLOCK, SMALLEST_BLOCK, OutputRing, Source

WRITES = st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=300)), max_size=50)


def read_all(ring: OutputRing, offset: int) -> list[tuple[int, str, bytes, int]]:
    found: list[tuple[int, str, bytes, int]] = []
    while (piece := ring.read(offset)) is not None:
        found.append((piece.offset, piece.source, piece.data, piece.lost))
        offset = piece.offset + len(piece.data)
    return found


@given(WRITES, st.integers(1, 2000), st.integers(0, 20000))
def test_what_is_read_from_any_offset_is_what_was_written_there(
    writes: list[tuple[Source, bytes]], limit: int, offset: int
) -> None:
    ring, bytes_of, sources = OutputRing(limit), bytearray(), ""
    for source, data in writes:
        ring.write(source, data)
        bytes_of += data
        sources += ("o" if source == "stdout" else "e") * len(data)
    assert ring.written == len(bytes_of)
    assert ring.size == ring.written - ring.kept_from
    pieces = read_all(ring, offset)
    assert bool(pieces) == (offset < ring.written)
    expected = max(offset, ring.kept_from)
    for number, (start, said, data, lost) in enumerate(pieces):
        assert start == expected
        assert data
        assert lost == (max(0, ring.kept_from - offset) if number == 0 else 0)
        assert data == bytes_of[start : start + len(data)]
        assert set(sources[start : start + len(data)]) == {"o" if said == "stdout" else "e"}
        expected += len(data)
    assert not pieces or expected == ring.written


@given(st.lists(st.binary(min_size=1, max_size=5000), max_size=60), st.integers(1, 3 * BLOCK))
def test_a_single_source_is_kept_to_the_limit(writes: list[bytes], limit: int) -> None:
    ring = OutputRing(limit)
    for each in writes:
        ring.write("stdout", each)
    assert min(limit, ring.written) <= ring.size <= limit + 3 * SMALLEST_BLOCK + SMALLEST_BLOCK * (limit // BLOCK)


def test_output_that_alternates_bytewise_costs_no_more_than_a_whole_one() -> None:
    ring = OutputRing(6400)
    for _ in range(10000):
        ring.write("stdout", b"o")
        ring.write("stderr", b"e")
    assert ring.written == 20000
    assert 0 < len(read_all(ring, 0)) <= 6400 // SMALLEST_BLOCK + 3


def test_nothing_was_written_yet() -> None:
    ring = OutputRing(10)
    assert (ring.read(0), ring.written, ring.kept_from, ring.size) == (None, 0, 0, 0)
