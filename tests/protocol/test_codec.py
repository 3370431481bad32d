"""Values on the wire (docs/protocol.md, section V)."""

from __future__ import annotations

import contextlib
import math
import struct
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.traced import traced_memory
from virtagent.errors import CallError, UnknownError, UsageError, error_code
from virtagent.protocol.codec import EXT_STREAM, Codec, is_well_formed, message_head, peer_error
from virtagent.protocol.limits import MIB

codec = Codec()

# Bytes that are not UTF-8, as the file system hands them to Python (PEP 383).
file_names = st.binary(max_size=40).map(lambda name: name.decode("utf-8", "surrogateescape"))
moments = st.datetimes(timezones=st.just(UTC), min_value=datetime(1971, 1, 1), max_value=datetime(9999, 1, 1))  # noqa: DTZ001
exts = st.builds(msgpack.ExtType, st.integers(2, 127), st.binary(max_size=20))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | file_names
    | st.text()
    | st.binary(max_size=40)
    | moments
    | exts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(file_names | st.binary(max_size=9), inner, max_size=5),
    max_leaves=25,
)


@given(values)
def test_every_value_arrives_as_it_was_sent(value: Any) -> None:
    """Rules V1, V2, V3, V4, V5, V6, V9."""
    assert codec.unpack(codec.pack(value)) == value


@given(st.binary(max_size=60))
def test_a_file_name_that_is_not_utf8_arrives_unchanged(name: bytes) -> None:
    """Rule V1: its bytes are on the wire as they are."""
    packed = codec.pack(name.decode("utf-8", "surrogateescape"))
    assert packed.endswith(name)
    assert codec.unpack(packed).encode("utf-8", "surrogateescape") == name


def test_text_and_binary_stay_apart() -> None:
    """Rules V1, V2."""
    assert codec.unpack(codec.pack(["a", b"a"])) == ["a", b"a"]


def test_nan_and_infinities_are_values() -> None:
    """Rule V4."""
    nan, plus, minus = codec.unpack(codec.pack([math.nan, math.inf, -math.inf]))
    assert math.isnan(nan)
    assert (plus, minus) == (math.inf, -math.inf)
    assert len(codec.pack(1.5)) == 9


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, [1, {"a": 2**70}]])
def test_an_integer_out_of_range_is_refused_by_the_sender(value: Any) -> None:
    """Rule V3."""
    with pytest.raises(UsageError, match=r"cannot be sent.*section V"):
        codec.pack(value)


def test_a_naive_datetime_is_refused_by_the_sender() -> None:
    """Rule V5."""
    with pytest.raises(UsageError, match="cannot be sent"):
        codec.pack(datetime(2024, 1, 1))  # noqa: DTZ001


def test_a_moment_of_another_zone_arrives_in_utc() -> None:
    """Rule V5."""
    there = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    here = codec.unpack(codec.pack(there))
    assert here == there
    assert here.tzinfo is UTC


@pytest.mark.parametrize("data", [b"\x81\x01\x02", b"\x81\xc0\xc0", b"\x81\x90\xc0", b"\x81\xca\x00\x00\x00\x00\x01"])
def test_a_map_key_that_is_neither_text_nor_binary_is_not_accepted(data: bytes) -> None:
    """Rule V6: and yet it is msgpack."""
    with pytest.raises(ValueError):
        codec.unpack(data)
    assert is_well_formed(data) == [len(data)]


def test_five_hundred_levels_of_nesting_are_accepted() -> None:
    """Rule V7."""
    value: list[Any] = []
    for _ in range(499):
        value = [value]
    assert codec.unpack(codec.pack(value)) == value


def test_bottomless_nesting_is_refused_on_both_sides() -> None:
    """Rule V7: by an exception that is caught, not by the interpreter's stack."""
    value: list[Any] = []
    value.append(value)
    with pytest.raises(UsageError):
        codec.pack(value)
    with pytest.raises(ValueError):
        codec.unpack(b"\x91" * 100_000 + b"\xc0")
    assert is_well_formed(b"\x91" * 100_000 + b"\xc0") is None


def test_an_unknown_ext_is_delivered_as_it_is() -> None:
    """Rule V9."""
    assert codec.unpack(codec.pack(msgpack.ExtType(77, b"x"))) == msgpack.ExtType(77, b"x")


def test_a_streams_reference_goes_through_the_hooks() -> None:
    """Rule T1."""

    class Thing:
        pass

    def encode(value: Any) -> msgpack.ExtType:
        if isinstance(value, Thing):
            return msgpack.ExtType(EXT_STREAM, b"12345")
        raise TypeError("no")

    seen = []
    special = Codec(encode, lambda data: seen.append(data) or "stream")  # type: ignore[func-returns-value]
    assert special.unpack(special.pack([Thing()])) == ["stream"]
    assert seen == [b"12345"]
    with pytest.raises(UsageError):
        special.pack(object())


def test_a_refused_value_leaves_nothing_in_the_packer() -> None:
    """A packer that keeps its buffer must not send half of a refused message with the next."""
    mine = Codec()
    with pytest.raises(UsageError):
        mine.pack(["half", object()])
    assert mine.unpack(mine.pack("next")) == "next"


@pytest.mark.parametrize("value", [bytes(4 * MIB), [bytes(4 * MIB), object()]], ids=["sent", "refused"])
def test_a_large_value_leaves_no_large_buffer_behind(value: Any) -> None:
    mine = Codec()
    with traced_memory() as held:
        with contextlib.suppress(UsageError):
            mine.pack(value)
        assert held() < 64 * 1024


def test_a_codec_and_a_decoder_of_items_begin_small() -> None:
    """There are two of the one for each peer, and one of the other for each stream of items."""
    with traced_memory() as held:
        kept: list[Any] = [Codec() for _ in range(10)]
        assert held() < 10 * 16 * 1024
        before = held()
        kept += [codec.unpacker(MIB) for _ in range(10)]
        usual = held() - before
        kept += [msgpack.Unpacker(max_buffer_size=MIB) for _ in range(10)]
        assert usual < held() - before - usual - 10 * 8 * 1024


def test_a_scan_shows_references_and_never_raises() -> None:
    """Rule T9."""
    seen: list[bytes] = []
    scanner = Codec(decode_stream=seen.append)
    scanner.scan(codec.pack([msgpack.ExtType(1, b"abcde"), 1]))
    scanner.scan(b"\xc1")
    assert seen == [b"abcde"]


def test_items_longer_than_the_limit_are_refused() -> None:
    """Rule T3."""
    unpacker = codec.unpacker(100)
    unpacker.feed(codec.pack("a" * 50))
    assert list(unpacker) == ["a" * 50]
    with pytest.raises((ValueError, msgpack.BufferFull)):
        unpacker.feed(codec.pack("a" * 150))


@given(st.lists(values, max_size=6), st.binary(max_size=3))
def test_the_ends_of_values_are_found_without_building_them(several: list[Any], tail: bytes) -> None:
    """Rule V8."""
    packed = [codec.pack(value) for value in several]
    ends = [sum(map(len, packed[: index + 1])) for index in range(len(packed))]
    data = b"".join(packed)
    assert is_well_formed(data, len(several)) == ends
    if tail:
        assert is_well_formed(data + tail, len(several)) is None
    assert is_well_formed(data[:-1], len(several)) is None or not data


@given(st.binary(max_size=60))
def test_no_bytes_at_all_make_the_decoder_raise_anything_unexpected(data: bytes) -> None:
    """Rules V8, L1."""
    ends = is_well_formed(data)
    assert ends is None or ends == [len(data)]
    message_head(data)
    try:
        codec.unpack(data)
    except (ValueError, OverflowError):
        return
    assert ends is not None


@pytest.mark.parametrize(
    ("message", "head"),
    [
        ([0, 5, "m", []], (0, 5)),
        ([1, 2**64 - 1, None, 1], (1, 2**64 - 1)),
        ([2, "m", []], (2, None)),
        ([3, 7], (3, 7)),
        ([0], None),
        ([], None),
        ([4, 1], None),
        (["0", 1], None),
        ([0, "x"], None),
        ([0, -1], None),
        ([True, 1], None),
        ("text", None),
        ({}, None),
    ],
)
def test_the_head_of_a_message_is_read_even_if_the_rest_is_missing(message: Any, head: Any) -> None:
    """Rules C2, P6."""
    data = codec.pack(message)
    assert message_head(data) == head
    assert message_head(memoryview(data + b"\xc1" * 100)) == head


def test_an_error_that_cannot_be_shown_is_still_an_error() -> None:
    """Rule C3: nested too deeply for repr(), or of a class that takes other arguments."""
    deep = codec.unpack(b"\x91" * 1000 + b"\xc0")
    assert isinstance(peer_error(deep), UnknownError)
    assert isinstance(peer_error([5, "gone", None]), CallError)

    @error_code(987_001)
    class Picky(CallError):
        def __init__(self, disk: int, sector: int) -> None:
            super().__init__(f"{disk}/{sector}")

    try:
        assert isinstance(peer_error([987_001, "x", None]), CallError)
    finally:
        del error_code.registered[987_001]
    assert Picky(1, 2).message == "1/2"


def test_a_timestamp_beyond_every_calendar_is_not_accepted() -> None:
    """Rule V5: a peer can write one."""
    with pytest.raises((ValueError, OverflowError)):
        codec.unpack(b"\xc7\x0c\xff" + struct.pack(">Iq", 0, 2**62))
