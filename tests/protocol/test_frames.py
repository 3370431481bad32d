"""Frames: round trips through any split and noise, resynchronisation, and what is never accepted (section F)."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.traced import traced_memory
from virtagent.protocol.frames import (
    ALIVE,
    CHECK_SIZE,
    DATA,
    FIRST_BUFFER,
    FROM_CANDIDATE,
    GAP,
    HEADER,
    HEADER_SIZE,
    HELLO,
    INITIAL_BUFFER,
    KEPT_FILLS,
    MESSAGE,
    PING,
    FrameReader,
    FrameWriter,
    encode_hello_frame,
    session_seed,
)
from virtagent.protocol.limits import MAX_HELLO

LIMIT = 2048
ALICE, BOB = 0x11111111, 0x22222222
SEED = session_seed(ALICE, BOB)

Parsed = tuple[int, int, bytes]


def reader(*, seed: int | None = SEED, check_payload: bool = True, limit: int = LIMIT) -> FrameReader:
    frames = FrameReader(limit)
    if seed is not None:
        frames.begin(seed, check_payload=check_payload)
    return frames


def writer(*, seed: int = SEED, check_payload: bool = True) -> FrameWriter:
    return FrameWriter(seed, check_payload=check_payload)


def drain(frames: FrameReader) -> list[Parsed]:
    out = []
    while (frame := frames.next_frame()) is not None:
        out.append((frame[0], frame[1], bytes(frame[2])))
    return out


def parse(frames: FrameReader, data: bytes, *, step: int = 1 << 30) -> list[Parsed]:
    """Feed ``data`` in pieces of at most ``step`` bytes; all frames found."""
    out = []
    at = 0
    while at < len(data):
        at += frames.feed(data[at : at + step])
        out += drain(frames)
    return out


def corrupted(frame: bytes, at: int) -> bytes:
    return frame[:at] + bytes([frame[at] ^ 0x55]) + frame[at + 1 :]


kinds = st.integers(1, 15).flatmap(lambda kind: st.integers(0, 15).map(lambda flags: flags << 4 | kind))
payloads = st.binary(max_size=80) | st.integers(0, LIMIT).map(lambda size: b"\xc1\x56" * (size // 2))
frame_lists = st.lists(st.tuples(kinds, st.integers(0, 2**32 - 1), payloads), max_size=12)
noises = st.binary(max_size=40) | st.sampled_from([b"\xc1", b"\xc1\x56", b"\xc1\xc1", b"\0" * 50, b"login: ", b"\xff"])


# -- round trips ---------------------------------------------------------------------------------------------------


@given(frame_lists, st.integers(1, 64), st.booleans())
def test_any_frames_survive_any_split(sent: list[Parsed], step: int, check: bool) -> None:
    """Rules F1, F2, F5, F7: down to single bytes, with and without payload checks, all kinds and flags."""
    out = writer(check_payload=check)
    frames = reader(check_payload=check)
    wire = b"".join(out.frame(*frame) for frame in sent)
    assert parse(frames, wire, step=step) == sent
    assert (frames.noise, frames.pad, frames.pending) == (0, 0, 0)


@given(
    st.lists(st.tuples(noises, st.tuples(kinds, st.integers(0, 9), payloads)), max_size=8), noises, st.integers(1, 99)
)
def test_frames_are_found_between_any_noise(sent: list[tuple[bytes, Parsed]], tail: bytes, step: int) -> None:
    """Rules F3, F6: and every byte is accounted for as frame, noise, pad or pending."""
    out = writer()
    frames = reader()
    encoded = [(noise, out.frame(*frame)) for noise, frame in sent]
    wire = b"".join(noise + frame for noise, frame in encoded) + tail
    assert parse(frames, wire, step=step) == [frame for _, frame in sent]
    in_frames = sum(len(frame) for _, frame in encoded)
    assert in_frames + frames.noise + frames.pad + frames.pending == len(wire)
    assert frames.pending < HEADER_SIZE


@given(kinds, st.lists(st.binary(max_size=50), max_size=5), st.booleans())
def test_pieces_are_the_same_bytes_as_frame(kind: int, parts: list[bytes], check: bool) -> None:
    """Rules F2, F5: the payload in several buffers has the same check."""
    one, other = writer(check_payload=check), writer(check_payload=check)
    for _ in range(2):
        pieces = one.pieces(kind, 7, [memoryview(part) for part in parts])
        assert b"".join(pieces) == other.frame(kind, 7, b"".join(parts))
    assert one.sequence == other.sequence == 2


def test_the_payload_is_not_copied_into_pieces() -> None:
    """Rule F5: a large payload goes out as the buffer it is."""
    payload = memoryview(bytearray(100_000))
    assert writer().pieces(DATA, 1, [payload])[1] is payload


def test_a_hello_is_found_in_and_out_of_a_session() -> None:
    """Rules F2, F4: seed 0, and it is not counted in the sequence."""
    frames = reader(seed=None)
    assert parse(frames, encode_hello_frame(b"x" * 20)) == [(HELLO, 0, b"x" * 20)]
    frames.begin(SEED, check_payload=False)
    out = writer(check_payload=False)
    wire = out.frame(ALIVE, 0, b"") + encode_hello_frame(b"y" * 20) + out.frame(ALIVE, 0, b"")
    assert parse(frames, wire) == [(ALIVE, 0, b""), (HELLO, 0, b"y" * 20), (ALIVE, 0, b"")]


def test_a_hello_always_has_a_payload_check() -> None:
    """Rule F5: also where the session agreed on none."""
    frames = reader(check_payload=False)
    assert parse(frames, corrupted(encode_hello_frame(b"x" * 20), 20) + bytes(40)) == []
    assert frames.bad_payloads == 1


def test_an_empty_payload_has_no_check() -> None:
    """Rule F5."""
    assert len(writer().frame(ALIVE, 0, b"")) == HEADER_SIZE


def test_unknown_kinds_and_flags_are_handed_on() -> None:
    """Rule F7: they are counted in the sequence, so whoever ignores them sees no gap."""
    out = writer()
    wire = out.frame(0xFF, 9, b"future") + out.frame(0xF2, 0, b"")
    assert parse(reader(), wire) == [(0xFF, 9, b"future"), (0xF2, 0, b"")]


# -- damage --------------------------------------------------------------------------------------------------------


@given(st.integers(0, HEADER_SIZE - 1), payloads)
def test_a_damaged_header_costs_its_bytes_and_later_frames_are_found(at: int, payload: bytes) -> None:
    """Rules F3, F4: its length is never used; the next frame shows the gap, and hellos go on being found."""
    out = writer()
    first, second = out.frame(MESSAGE, 0, payload), out.frame(MESSAGE, 1, b"next")
    frames = reader()
    assert parse(frames, corrupted(first, at) + second + encode_hello_frame(b"h")) == [(GAP, 1, b""), (HELLO, 0, b"h")]
    assert frames.noise + frames.pad == len(first)


def test_frames_are_found_inside_a_bogus_body() -> None:
    """Rule F3: a header that fails its check announces nothing."""
    bogus = HEADER.pack(0xC156, MESSAGE << 24 | 1000, 0, 0, 12345)
    frames = reader()
    inner = writer().frame(MESSAGE, 0, b"inside")
    assert parse(frames, bogus + b"a" * 100 + inner) == [(MESSAGE, 0, b"inside")]
    assert frames.noise + frames.pad == HEADER_SIZE + 100


def test_a_hello_inside_a_half_frame_is_found_once_pad_completes_it() -> None:
    """Rules F3, F5, F6, H11: the half frame of a dead process, the hello of the next one, and its pad."""
    half = writer().frame(DATA, 1, b"d" * LIMIT)[:500]
    frames = reader()
    assert parse(frames, half + encode_hello_frame(b"hi")) == []
    assert parse(frames, bytes(LIMIT)) == [(GAP, 0, b""), (HELLO, 0, b"hi")]


@pytest.mark.parametrize("length", [LIMIT + 1, 0xFFFFFF])
def test_a_length_above_the_limit_is_never_used(length: int) -> None:
    """Rule F3: though the check is right."""
    head = HEADER.pack(0xC156, MESSAGE << 24 | length, 0, 0, 0)[:12]
    frames = reader()
    wire = head + crc32(head, SEED).to_bytes(4, "big") + writer().frame(PING, 0, b"12345678")
    assert parse(frames, wire) == [(PING, 0, b"12345678")]


@pytest.mark.parametrize("size", [20, 257, MAX_HELLO])
def test_a_hello_of_up_to_1024_bytes_is_taken_whatever_the_frame_limit(size: int) -> None:
    """Rules F3, H8."""
    assert parse(reader(limit=256), encode_hello_frame(bytes(size))) == [(HELLO, 0, bytes(size))]


def test_a_hello_of_more_than_1024_bytes_is_no_frame() -> None:
    """Rules F3, H8."""
    frames = reader(limit=1 << 20)
    assert parse(frames, encode_hello_frame(bytes(MAX_HELLO + 1))) == []
    assert frames.pending < HEADER_SIZE


@given(st.integers(0, 23))
def test_a_damaged_payload_is_never_used_and_is_a_gap(at: int) -> None:
    """Rules F4, F5: it costs the first byte; what follows, and what is inside, is searched."""
    out = writer()
    first, second = out.frame(MESSAGE, 0, b"p" * 20), out.frame(MESSAGE, 0, b"q")
    frames = reader()
    found = parse(frames, corrupted(first, HEADER_SIZE + at) + second)
    assert found == [(GAP, 0, b""), (GAP, 1, b"")]
    assert frames.bad_payloads == 1


def test_nested_headers_do_not_make_the_reader_check_the_same_bytes_again_and_again() -> None:
    """Rules F5, F8, L1: a hostile peer knows the seed, so each header in a body is valid but for its payload."""
    out = writer()
    wire = b"".join(out.frame(MESSAGE, 0, b"x" * LIMIT)[:HEADER_SIZE] for _ in range(LIMIT // HEADER_SIZE + 2))
    for candidate in (False, True):
        frames = reader(seed=None if candidate else SEED)
        if candidate:
            frames.expect_candidate(SEED)
        frames.feed(wire)
        while (frame := frames.next_frame()) is not None:
            assert frame[0] == GAP
            frames.leave()
        assert frames.bad_payloads == 1


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(("skipped", "repeated"), [(1, 0), (5, 0), (0, 1)])
def test_a_gap_and_a_repeat_are_reported(check: bool, skipped: int, repeated: int) -> None:
    """Rule F4: instead of the frame."""
    out = writer(check_payload=check)
    frames = reader(check_payload=check)
    good = [out.frame(MESSAGE, 0, b"a") for _ in range(3)]
    assert len(parse(frames, b"".join(good))) == 3
    out.sequence += skipped
    wire = good[-1] if repeated else out.frame(MESSAGE, 0, b"b")
    assert parse(frames, wire) == [(GAP, 2 if repeated else 3 + skipped, b"")]


def test_the_sequence_wraps_at_65536() -> None:
    """Rule F4."""
    out = writer()
    out.sequence = 0xFFFF
    frames = FrameReader(LIMIT)
    frames.begin(SEED, check_payload=True, expected=0xFFFF)
    assert parse(frames, out.frame(ALIVE, 0, b"") + out.frame(ALIVE, 0, b"")) == [(ALIVE, 0, b"")] * 2


# -- whose frames --------------------------------------------------------------------------------------------------


@given(st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1), st.binary(max_size=30))
def test_frames_of_another_session_are_never_accepted(sender: int, receiver: int, payload: bytes) -> None:
    """Rule F2: an older session, a clone's, or the reverse direction."""
    foreign = session_seed(sender, receiver)
    frames = reader()
    found = parse(frames, FrameWriter(foreign, check_payload=True).frame(MESSAGE, 0, payload))
    assert found == ([(MESSAGE, 0, payload)] if foreign == SEED else [])


def test_our_own_frames_echoed_back_are_noise() -> None:
    """Rule F2: the direction is in the seed."""
    frames = reader()
    wire = writer(seed=session_seed(BOB, ALICE)).frame(MESSAGE, 0x01010101, b"hello")
    assert parse(frames, wire) == []
    assert frames.noise > 0


def test_without_a_session_only_hellos_are_accepted() -> None:
    """Rules F2, G5: before the first one, and after leaving."""
    frames = reader(seed=None)
    wire = writer().frame(MESSAGE, 0, b"a") + encode_hello_frame(b"h")
    assert parse(frames, wire) == [(HELLO, 0, b"h")]
    frames.begin(SEED, check_payload=True)
    frames.leave()
    assert parse(frames, wire) == [(HELLO, 0, b"h")]


def test_a_candidates_frame_0_is_reported_as_such() -> None:
    """Rule H5: beside the frames of the session that is up."""
    candidate = session_seed(5, 6)
    frames = reader()
    frames.expect_candidate(candidate, check_payload=False)
    other = writer(seed=candidate, check_payload=False)
    wire = writer().frame(MESSAGE, 0, b"old") + other.frame(MESSAGE, 3, b"new")
    assert parse(frames, wire) == [(MESSAGE, 0, b"old"), (MESSAGE | FROM_CANDIDATE, 3, b"new")]
    frames.begin(candidate, check_payload=False, expected=1)
    assert parse(frames, other.frame(ALIVE, 0, b"")) == [(ALIVE, 0, b"")]


def test_a_later_frame_of_a_candidate_is_dropped() -> None:
    """Rule H5: sequence 0 only, or what came before would be lost unseen."""
    frames = reader(seed=None)
    frames.expect_candidate(SEED)
    out = writer()
    out.sequence = 1
    assert parse(frames, out.frame(MESSAGE, 0, b"x") + encode_hello_frame(b"h")) == [(HELLO, 0, b"h")]
    assert frames.noise == 0


def test_a_candidate_that_is_no_longer_expected_is_noise() -> None:
    """Rules H5, F3: also when half of its frame is here already: its length is forgotten."""
    frames = reader(seed=None)
    frames.expect_candidate(SEED)
    assert parse(frames, writer().frame(MESSAGE, 0, b"x" * 1000)[:100]) == []
    frames.expect_candidate(None)
    assert parse(frames, encode_hello_frame(b"h")) == [(HELLO, 0, b"h")]


def test_a_damaged_frame_0_of_a_candidate_is_not_accepted() -> None:
    """Rules F5, H5."""
    frames = reader(seed=None)
    frames.expect_candidate(SEED)
    wire = corrupted(writer().frame(MESSAGE, 0, b"x" * 10), 20) + encode_hello_frame(b"h")
    assert parse(frames, wire) == [(HELLO, 0, b"h")]
    assert frames.bad_payloads == 1


def test_leaving_forgets_the_length_of_a_half_frame() -> None:
    """Rules F3, G5: the hello behind it is found at once."""
    frames = reader()
    assert parse(frames, writer().frame(DATA, 1, b"x" * LIMIT)[:200]) == []
    frames.leave()
    assert parse(frames, encode_hello_frame(b"h")) == [(HELLO, 0, b"h")]


# -- pad, bounds, buffers ------------------------------------------------------------------------------------------


def test_pad_is_not_noise() -> None:
    """Rule F6."""
    frames = reader()
    assert parse(frames, bytes(5000) + writer().frame(ALIVE, 0, b"")) == [(ALIVE, 0, b"")]
    assert (frames.pad, frames.noise) == (5000, 0)


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=400) | st.just(b"\xc1\x56"), max_size=30), st.integers(0, 0xFFFFFFFF))
def test_arbitrary_bytes_never_raise(data: list[bytes], candidate: int) -> None:
    """Rule F8."""
    frames = reader()
    frames.expect_candidate(candidate)
    for piece in data:
        parse(frames, piece)
        assert frames.pending < HEADER_SIZE + LIMIT + CHECK_SIZE


@given(st.lists(st.tuples(st.integers(0, 0xFFFFFF), st.integers(0, 255), st.binary(max_size=600)), max_size=20))
def test_valid_headers_with_any_length_never_grow_the_reader(hostile: list[tuple[int, int, bytes]]) -> None:
    """Rules F8, L1: at most one frame of the limit is held, whatever a peer that knows the seed announces."""
    limit = 100 * 1024
    frames = reader(limit=limit)
    for length, kind, body in hostile:
        head = HEADER.pack(0xC156, kind << 24 | length, 0, 0, 0)[:12]
        seed = SEED if kind & 15 else 0
        parse(frames, head + crc32(head, seed).to_bytes(4, "big") + body)
        assert frames.pending < HEADER_SIZE + limit + CHECK_SIZE
        assert frames.pending + len(frames.get_buffer()) <= limit + 64 + INITIAL_BUFFER


def test_the_buffer_is_never_empty() -> None:
    """Rule F8: a transport that is given an empty buffer would think that the channel is closed."""
    frames = reader(limit=200_000)
    wire = memoryview(writer().frame(DATA, 1, b"z" * 200_000))
    while wire:
        room = frames.get_buffer()
        assert len(room) > 0
        count = min(len(room), len(wire), 1000)
        room[:count] = wire[:count]
        frames.received(count)
        wire = wire[count:]
        found = frames.next_frame()
        assert (found is None) == bool(wire)
    assert found is not None
    assert found[2] == b"z" * 200_000


def test_a_feed_larger_than_the_buffer_works_in_steps() -> None:
    """Rule F8: it takes what fits and says how much."""
    frames = reader()
    out = writer()
    wire = b"".join(out.frame(MESSAGE, n, bytes([n % 251]) * LIMIT) for n in range(100))
    assert 0 < frames.feed(wire) < len(wire)
    frames = reader()
    assert [stream for _, stream, _ in parse(frames, wire)] == list(range(100))


def test_a_payload_is_a_view_of_the_readers_buffer() -> None:
    """Rule F5: nothing is copied, so it lasts only until the reader's next call."""
    frames = reader()
    frames.feed(writer().frame(MESSAGE, 0, b"first"))
    frame = frames.next_frame()
    assert frame is not None
    kept = bytes(frame[2])
    room = frames.get_buffer()
    room[:64] = b"!" * 64
    assert kept == b"first"
    assert bytes(frame[2]) == b"!" * 5


def test_a_growing_buffer_keeps_the_bytes_it_holds() -> None:
    """Rule F8: two frames larger than the first buffer, split anywhere."""
    out = writer()
    wire = b"".join(out.frame(DATA, n, bytes([n]) * 150_000) for n in (1, 2))
    assert [len(found[2]) for found in parse(reader(limit=150_000), wire, step=40_001)] == [150_000] * 2


def test_one_large_frame_does_not_keep_its_buffer_for_ever() -> None:
    """A thousand connections with one large frame each would hold a thousand large buffers."""
    frames, out = reader(limit=300_000), writer()
    large = out.frame(MESSAGE, 0, bytes(300_000))
    with traced_memory() as held:
        assert len(parse(frames, large)) == 1
        assert held() > 200_000
        for _ in range(KEPT_FILLS + 1):
            assert len(parse(frames, out.frame(MESSAGE, 0, b"small"))) == 1
        assert len(frames.get_buffer()) == INITIAL_BUFFER
        assert held() < 200_000


def test_large_frames_in_a_row_share_one_buffer() -> None:
    """Small frames between them, fewer than it takes to give it up, change nothing."""
    frames, out = reader(limit=300_000), writer()
    assert len(parse(frames, out.frame(MESSAGE, 0, bytes(300_000)))) == 1
    kept = frames.get_buffer().obj
    for _ in range(3):
        for _ in range(KEPT_FILLS - 2):
            assert len(parse(frames, out.frame(MESSAGE, 0, b"small"))) == 1
        assert len(parse(frames, out.frame(MESSAGE, 0, bytes(300_000)))) == 1
        assert frames.get_buffer().obj is kept


def test_a_read_that_fills_the_first_buffer_gets_a_larger_one() -> None:
    frames = FrameReader(256 * 1024)
    assert len(frames.get_buffer()) == FIRST_BUFFER
    writer = FrameWriter(7, check_payload=False)
    frames.begin(7, check_payload=False)
    payloads = [bytes([number]) * 300 for number in range(200)]
    stream = b"".join(writer.frame(MESSAGE, 0, payload) for payload in payloads)
    sizes, found = [], []
    while stream:
        sizes.append(len(frames.get_buffer()))
        taken = frames.feed(stream)
        stream = stream[taken:]
        while (frame := frames.next_frame()) is not None:
            found.append(bytes(frame[2]))
    assert found == payloads
    assert sizes[0] == FIRST_BUFFER
    assert sizes[1] > INITIAL_BUFFER - FIRST_BUFFER
