"""Headers, numbers and records are read as they were written, by us and by others."""

from __future__ import annotations

import tarfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.archive.directories import safe_parts
from virtagent.archive.header import (
    ArchiveError,
    pack_header,
    pack_number,
    pack_records,
    padding,
    parse_header,
    parse_number,
    parse_records,
)


@given(st.integers(-(2**60), 2**60))
def test_a_number_is_read_as_it_was_written(value: int) -> None:
    field = pack_number(value, 12)
    assert len(field) == 12
    assert parse_number(field) == value


@given(st.integers(0, 2**60))
def test_numbers_are_written_as_the_standard_library_writes_them(value: int) -> None:
    assert parse_number(tarfile.itn(value, 12, tarfile.GNU_FORMAT)) == value  # type: ignore[attr-defined]
    assert tarfile.nti(pack_number(value, 12)) == value  # type: ignore[attr-defined]


@given(
    st.dictionaries(
        st.binary(min_size=1, max_size=40).filter(lambda key: b"=" not in key and b"\n" not in key),
        st.binary(max_size=300),
        max_size=6,
    )
)
def test_records_are_read_as_they_were_written(records: dict[bytes, bytes]) -> None:
    assert parse_records(pack_records(records)) == records


@pytest.mark.parametrize("size", [*range(80, 110), 985, 986, 987, 988, 9980, 9981, 9982, 9983])
def test_a_records_length_counts_itself(size: int) -> None:
    packed = pack_records({b"k": b"v" * size})
    assert int(packed.split()[0]) == len(packed)


@pytest.mark.parametrize("data", [b"5 a=b\n", b"7 a=b\n", b"x", b"4 a=\n9", b"6 ab\n\n", b"99 a=b\n", b"6 a=bc"])
def test_damaged_records_are_refused(data: bytes) -> None:
    with pytest.raises(ArchiveError):
        parse_records(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_records_or_refused(data: bytes) -> None:
    with suppress(ArchiveError):
        parse_records(data)


@given(st.binary(min_size=512, max_size=512))
def test_any_block_is_a_header_or_refused(block: bytes) -> None:
    with suppress(ArchiveError):
        parse_header(block)


@given(
    name=st.binary(min_size=1, max_size=100).filter(lambda name: b"\0" not in name),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 8**7 - 1),
    size=st.integers(0, 8**11 - 1),
    mtime=st.integers(0, 8**11 - 1),
)
def test_a_header_is_read_as_it_was_written_by_us_and_by_the_standard_library(
    name: bytes, mode: int, uid: int, size: int, mtime: int
) -> None:
    block = pack_header(name=name, mode=mode, uid=uid, gid=0, size=size, mtime=mtime, kind=b"0", target=b"t")
    raw = parse_header(block)
    assert raw is not None
    assert (raw.name, raw.mode, raw.uid, raw.size, raw.mtime) == (name, mode, uid, size, mtime)
    theirs = tarfile.TarInfo.frombuf(block, "latin-1", "strict")
    assert (theirs.mode, theirs.uid, theirs.size, theirs.mtime) == (mode, uid, size, mtime)


@given(st.integers(0, 10_000))
def test_padding_fills_the_last_block(size: int) -> None:
    assert (size + padding(size)) % 512 == 0
    assert 0 <= padding(size) < 512


@pytest.mark.parametrize("name", [b"/a", b"..", b"a/..", b"../a", b"a/../b", b"a\0b", b"x" * 4097, b"a/" * 300])
def test_names_that_would_leave_are_refused(name: bytes) -> None:
    with pytest.raises(ArchiveError):
        safe_parts(name)


def test_names_are_taken_apart() -> None:
    assert safe_parts(b"./a//b/./c/") == ["a", "b", "c"]
    assert safe_parts(b"./") == []
