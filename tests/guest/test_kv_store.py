"""The key/value store: it is a dict that survives crashes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from virtagent.api.kv import LARGEST_VALUE, LONGEST_KEY, MOST_BYTES, MOST_KEYS
from virtagent.errors import Aborted, InvalidArgument, ResourceExhausted
from virtagent.guest import kv_store
from virtagent.guest.kv_file import MOST_COPIES, StateFile
from virtagent.guest.kv_journal import HEADER, Record, encode, read_journal
from virtagent.guest.kv_store import KEPT_DELETIONS, KvStore, check_key


class Crashed(Exception):
    """The machine went down."""


class CrashingFile:
    """A file in memory whose writes end at a moment of the test's choice, as a crash ends them.

    Attributes:
        disk: what is there after a crash.
        survives: how many more bytes get to the disk; None: all. Afterwards the machine is down.
        zeros: what was not written although the file had been made longer reads as zeros.
        replaced: whether a replacement that was cut short took place.
    """

    def __init__(self) -> None:
        self.disk = b""
        self.survives: int | None = None
        self.zeros = False
        self.replaced = False
        self.copies: list[bytes] = []
        self.full = False

    def read(self) -> bytes:
        return self.disk

    def append(self, data: bytes, size: int) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        assert size <= len(self.disk)
        before = self.disk[:size]
        if self.survives is None:
            self.disk = before + data
            return
        written = data[: self.survives]
        self.disk = before + written + bytes(len(data) - len(written) if self.zeros else 0)
        raise Crashed

    def replace(self, data: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        if self.survives is None or self.replaced:
            self.disk = data
        if self.survives is not None:
            raise Crashed

    def set_aside(self) -> str:
        self.copies.append(self.disk)
        return f"copy {len(self.copies)}"


KEYS = st.sampled_from(["a", "a/b", "b", "c", "ü"])
VALUES = st.binary(max_size=40)


class StoreAsDict(RuleBasedStateMachine):
    """The store beside a dict of its keys, with crashes in the middle of writes."""

    def __init__(self) -> None:
        super().__init__()
        self.file = CrashingFile()
        self.expected: dict[str, tuple[bytes, int]] = {}
        self.version = 0

    @initialize(slack=st.sampled_from([0, 60, 1 << 20]))
    def begin(self, slack: int) -> None:
        self.slack = kv_store.SLACK
        kv_store.SLACK = slack  # so that the file is written anew often, sometimes, and never
        self.store = KvStore(self.file, clock=lambda: 1.5)
        self.store.load()

    def teardown(self) -> None:
        kv_store.SLACK = self.slack

    def change(self, key: str, value: bytes | None) -> None:
        record = self.store.prepare(key, value, None)
        assert (record is None) == (value is None and key not in self.expected)
        if record is not None:
            assert record.version > self.version
            self.store.persist([record])
            self.store.apply(record)
            self.note(record)

    def note(self, record: Record) -> None:
        self.version = record.version
        if record.value is None:
            del self.expected[record.key]
        else:
            self.expected[record.key] = (record.value, record.version)

    @rule(key=KEYS, value=VALUES)
    def set(self, key: str, value: bytes) -> None:
        self.change(key, value)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.change(key, None)

    @rule(key=KEYS, value=VALUES, right=st.booleans())
    def set_if(self, key: str, value: bytes, right: bool) -> None:
        version = self.expected[key][1] if key in self.expected else 0
        if right:
            record = self.store.prepare(key, value, version)
            assert record is not None
            self.store.persist([record])
            self.store.apply(record)
            self.note(record)
        else:
            with pytest.raises(Aborted) as refused:
                self.store.prepare(key, value, version + 1)
            assert refused.value.data == {"version": version}

    @rule(changes=st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=4))
    def set_while_frozen_and_thaw(self, changes: list[tuple[str, bytes]]) -> None:
        waiting = []
        for key, value in changes:
            record = self.store.prepare(key, value, None)
            assert record is not None
            waiting.append(record)
            self.store.apply(record)
            self.note(record)
        self.store.persist(waiting)

    @rule()
    def stop_and_start(self) -> None:
        self.store = KvStore(self.file, clock=lambda: 1.5)
        self.store.load()
        assert self.store.damage == ""

    @rule(
        key=KEYS,
        value=st.none() | VALUES,
        survives=st.integers(0, 120),
        zeros=st.booleans(),
        replaced=st.booleans(),
    )
    def crash_while_writing(self, key: str, value: bytes | None, survives: int, zeros: bool, replaced: bool) -> None:
        record = self.store.prepare(key, value, None)
        if record is None:
            return
        self.file.survives, self.file.zeros, self.file.replaced = survives, zeros, replaced
        with pytest.raises(Crashed):
            self.store.persist([record])
        self.file.survives = None
        self.store = KvStore(self.file, clock=lambda: 1.5)
        self.store.load()
        assert self.store.damage == ""
        now = self.store.get(key)
        if now == record or (value is None and now is None):
            self.note(record)  # it had got there

    @precondition(lambda self: self.version > 0)
    @rule(key=KEYS, value=VALUES)
    def full_disk(self, key: str, value: bytes) -> None:
        record = self.store.prepare(key, value, None)
        assert record is not None
        self.file.full = True
        with pytest.raises(OSError, match="No space"):
            self.store.persist([record])
        self.file.full = False

    @invariant()
    def is_the_dict(self) -> None:
        if not hasattr(self, "store"):
            return
        assert {each.key: (each.value, each.version) for each in self.store.entries("")} == self.expected
        assert len(self.store) == len(self.expected)
        assert self.store.bytes == sum(len(key.encode()) + len(value) for key, (value, _) in self.expected.items())
        assert self.store.version >= self.version
        assert [each.key for each in self.store.entries("a")] == sorted(key for key in self.expected if key[0] == "a")


StoreAsDict.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestStoreAsDict = StoreAsDict.TestCase


RECORDS = st.lists(st.tuples(KEYS, st.none() | VALUES), min_size=1, max_size=8).map(
    lambda found: [Record(number, 0.5, key, value) for number, (key, value) in enumerate(found, 1)]
)


@given(RECORDS, st.data())
def test_a_file_that_was_cut_anywhere_gives_what_was_whole_and_no_damage(
    records: list[Record], data: st.DataObject
) -> None:
    whole = HEADER + encode(records)
    cut = data.draw(st.integers(0, len(whole)))
    contents = read_journal(whole[:cut])
    assert contents.damage == ""
    assert contents.records == records[: len(contents.records)]
    lengths = [len(HEADER + encode(records[:number])) for number in range(len(records) + 1)]
    assert len(contents.records) == max(sum(each <= cut for each in lengths) - 1, 0)


@given(RECORDS, st.data())
def test_one_wrong_byte_costs_one_record_and_is_told_unless_it_is_the_last_ones(
    records: list[Record], data: st.DataObject
) -> None:
    whole = bytearray(HEADER + encode(records))
    at = data.draw(st.integers(len(HEADER), len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    contents = read_journal(bytes(whole))
    hurt = next(number for number in range(len(records)) if at < len(HEADER + encode(records[: number + 1])))
    assert contents.records == records[:hurt] + records[hurt + 1 :]
    assert bool(contents.damage) == (hurt < len(records) - 1)


@given(st.binary(max_size=300))
def test_any_file_is_survived(data: bytes) -> None:
    read_journal(data)
    read_journal(HEADER + data)


def test_a_file_of_zeros_is_one_that_was_never_written() -> None:
    assert read_journal(bytes(4096)).damage == ""
    assert read_journal(HEADER + encode([Record(1, 0.0, "a", b"x")]) + bytes(1 << 20)).damage == ""


def test_a_damaged_file_is_set_aside_and_what_is_whole_is_kept() -> None:
    file = CrashingFile()
    records = [Record(number, 0.0, f"key{number}", b"value") for number in range(1, 6)]
    damaged = bytearray(HEADER + encode(records))
    damaged[len(HEADER + encode(records[:2])) + 12] ^= 0xFF
    file.disk = bytes(damaged)
    store = KvStore(file)
    store.load()
    assert "a copy is in copy 1" in store.damage
    assert file.copies == [bytes(damaged)]
    assert [each.key for each in store.entries("")] == ["key1", "key2", "key4", "key5"]
    assert store.version > 1 << 20  # no version that the damage may hide is given again
    again = KvStore(file)
    again.load()
    assert (again.damage, again.version) == ("", store.version)
    assert again.entries("") == store.entries("")

    file.disk = b"something else entirely"
    other = KvStore(file)
    other.load()
    assert "does not begin as such a file does" in other.damage
    assert len(other) == 0


def test_the_limits_are_kept() -> None:
    file = CrashingFile()
    store = KvStore(file)
    store.load()

    def put(key: str, value: bytes) -> None:
        record = store.prepare(key, value, None)
        assert record is not None
        store.apply(record)

    for number in range(MOST_BYTES // LARGEST_VALUE - 1):
        put(f"{number}", bytes(LARGEST_VALUE))
    with pytest.raises(ResourceExhausted, match="more than"):
        put("one more", bytes(LARGEST_VALUE))
    put("0", b"smaller now")
    store = KvStore(file)
    for number in range(MOST_KEYS):
        put(f"{number}", b"")
    with pytest.raises(ResourceExhausted, match=f"{MOST_KEYS} keys already"):
        put("one more", b"")
    put("0", b"those that are there can be changed")


@pytest.mark.parametrize("key", ["", "a" * (LONGEST_KEY + 1), "ü" * 257, "a\nb", "a\0", "\x7f", "\ud800"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidArgument, match="key: it"):
        check_key(key)


def test_the_longest_key_with_the_largest_value_is_kept() -> None:
    file = CrashingFile()
    store = KvStore(file)
    store.load()
    check_key("k" * LONGEST_KEY)
    record = store.prepare("k" * LONGEST_KEY, bytes(LARGEST_VALUE), None)
    assert record is not None
    store.persist([record])
    again = KvStore(file)
    again.load()
    assert again.entries("") == [record]


def test_a_watcher_who_was_away_is_told_the_last_of_each_key_or_that_deletions_are_forgotten() -> None:
    store = KvStore(CrashingFile())
    store.load()
    for key in ("a", "b", "a"):
        record = store.prepare(key, b"x", None)
        assert record is not None
        store.apply(record)
    changes = store.changes(0, "")
    assert changes is not None
    assert [(each.version, each.key) for each in changes] == [(2, "b"), (3, "a")]
    for _ in range(KEPT_DELETIONS + 1):
        for value in (b"", None):
            record = store.prepare("gone", value, None)
            assert record is not None
            store.apply(record)
    assert store.changes(3, "") is None
    recent = store.changes(store.version - 1, "")
    assert recent is not None
    assert [(each.key, each.value) for each in recent] == [("gone", None)]


def test_the_file_stays_small_however_often_a_key_is_set(tmp_path: Path) -> None:
    file = CrashingFile()
    store = KvStore(file)
    store.load()
    for number in range(3000):
        record = store.prepare("key", bytes(1000), None)
        assert record is not None
        store.persist([record])
        store.apply(record)
        assert len(file.disk) <= 4 * 1100 + kv_store.SLACK, number


def test_the_file_is_its_owners_and_replaced_as_a_whole(tmp_path: Path) -> None:
    file = StateFile(str(tmp_path / "state" / "kv.journal"))
    assert file.read() == b""
    old = os.umask(0)
    try:
        file.replace(b"one")
    finally:
        os.umask(old)
    path = Path(file.path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    file.append(b" two", 3)
    file.append(b"!", 7)
    assert path.read_bytes() == b"one two!"
    file.append(b"?", 3)  # what stood behind was half written
    assert path.read_bytes() == b"one?"
    (tmp_path / "state" / "kv.journal.new").write_text("left by a crash")
    file.replace(b"three")
    assert [each.name for each in path.parent.iterdir()] == ["kv.journal"]
    assert path.read_bytes() == b"three"


def test_copies_of_damaged_files_do_not_fill_the_disk(tmp_path: Path) -> None:
    file = StateFile(str(tmp_path / "kv.journal"))
    for number in range(MOST_COPIES + 3):
        file.replace(b"%d" % number)
        assert Path(file.set_aside()).read_bytes() == b"%d" % number
    copies = sorted(each.read_bytes() for each in tmp_path.iterdir() if "damaged" in each.name)
    assert len(copies) == MOST_COPIES


def test_links_are_not_written_through(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"other")
    (tmp_path / "kv.journal").symlink_to(other)
    file = StateFile(str(tmp_path / "kv.journal"))
    with pytest.raises(OSError, match="symbolic link"):
        file.append(b"x", 5)
    file.replace(b"own")
    assert other.read_bytes() == b"other"
    assert not (tmp_path / "kv.journal").is_symlink()
