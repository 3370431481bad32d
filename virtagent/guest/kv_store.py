"""The key/value store: what it holds, its limits, its journal. It knows nothing of calls and of frozen disks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from virtagent.api.kv import LONGEST_KEY, MOST_BYTES, MOST_KEYS
from virtagent.errors import Aborted, InvalidArgument, ResourceExhausted
from virtagent.guest.kv_journal import HEADER, Record, encode, read_journal

__all__ = ["File", "KvStore", "check_key"]

KEPT_DELETIONS = 1024
"""Deletions that are remembered for watchers who are slow."""

SLACK = 256 * 1024
"""Bytes by which the file may be longer than twice what it has to hold, before it is written anew."""


class File(Protocol):
    """What the store needs of its file; see :class:`~virtagent.guest.kv_file.StateFile`."""

    def read(self) -> bytes:
        """All of it."""

    def append(self, data: bytes, size: int) -> None:
        """Write behind the first bytes, durably."""

    def replace(self, data: bytes) -> None:
        """Make it hold other data, durably, and all of it or none."""

    def set_aside(self) -> str:
        """Keep a copy."""


def check_key(key: str) -> None:
    """Refuse what is no key.

    Raises:
        InvalidArgument: it is too long, has control characters, or is no Unicode.
    """
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidArgument("key: it is not valid Unicode") from None
    if not 0 < length <= LONGEST_KEY:
        raise InvalidArgument(f"key: it has {length} bytes; write 1 to {LONGEST_KEY}")
    if any(each < " " or "\x7f" <= each <= "\x9f" for each in key):
        raise InvalidArgument("key: it has control characters; write text")


class KvStore:
    """Keys and values. A change is prepared, then made durable, then applied: in this order, one at a time.

    Args:
        file: where it is kept.
        clock: seconds since 1970.

    Attributes:
        version: of the last change.
        bytes: of all keys and values.
        damage: what was wrong with the file; "": nothing.
    """

    def __init__(self, file: File, clock: Callable[[], float] = time.time) -> None:
        self.version = 0
        self.bytes = 0
        self.damage = ""
        self._file = file
        self._clock = clock
        self._entries: dict[str, Record] = {}
        self._deleted: deque[Record] = deque()
        self._forgotten = 0
        self._size = 0
        self._live = 0

    # -- the file ------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read the file; what is damaged is set aside, and the rest is written anew. Raises OSError."""
        contents = read_journal(self._file.read())
        for record in contents.records:
            self.apply(record)
        self._deleted.clear()
        self._forgotten = self.version
        self._size = contents.size
        if contents.damage:
            copy = self._file.set_aside()
            self.damage = contents.damage + (f"; a copy is in {copy}" if copy else "; it could not be copied")
            # Versions go on beyond those that the damage may hide, so that nobody takes a new one for an old one.
            self.version += 1 << 20
            self._forgotten = self.version
            self._rewrite(())

    def persist(self, records: Iterable[Record]) -> None:
        """Have changes on disk; they are applied afterwards. An OSError leaves the file as it was."""
        data = encode(records)
        if not self._size or self._size + len(data) > 2 * (self._live + len(data)) + SLACK:
            self._rewrite(records)
        else:
            self._file.append(data, self._size)
            self._size += len(data)

    def _rewrite(self, records: Iterable[Record]) -> None:
        """Write the file anew, with changes that are not applied yet."""
        entries, version = dict(self._entries), self.version
        for record in records:
            if record.value is None:
                entries.pop(record.key, None)
            else:
                entries[record.key] = record
            version = max(version, record.version)
        kept = sorted(entries.values())
        if version and (not kept or kept[-1].version < version):
            kept.append(Record(version, self._clock(), "", None))  # the deletion of nothing keeps the version
        data = HEADER + encode(kept)
        self._file.replace(data)
        self._size = len(data)

    # -- changes -------------------------------------------------------------------------------------------------

    def prepare(self, key: str, value: bytes | None, expected: int | None) -> Record | None:
        """The change that gives a key a value, or takes it away; None if there is nothing to take away.

        Args:
            key: which.
            value: None: delete it.
            expected: the version that it must have; None: any.

        Raises:
            Aborted: it has another one.
            ResourceExhausted: there is no room.
        """
        before = self._entries.get(key)
        version = 0 if before is None else before.version
        if expected is not None and expected != version:
            has = f"has version {version}" if before is not None else "does not exist"
            raise Aborted(f"{key} {has}, not {expected}; get it again", data={"version": version})
        if value is None:
            return None if before is None else Record(self.version + 1, self._clock(), key, None)
        if before is None and len(self._entries) >= MOST_KEYS:
            raise ResourceExhausted(f"there are {MOST_KEYS} keys already; delete some")
        grown = self.bytes + _weight(key, value) - (0 if before is None else _weight(key, before.value))
        if grown > MOST_BYTES:
            raise ResourceExhausted(f"the store would have more than {MOST_BYTES} bytes; delete some keys")
        return Record(self.version + 1, self._clock(), key, value)

    def apply(self, record: Record) -> None:
        """Make a change that is on disk, or will be."""
        before = self._entries.pop(record.key, None)
        if before is not None:
            self.bytes -= _weight(record.key, before.value)
            self._live -= len(encode([before]))
        if record.value is not None:
            self._entries[record.key] = record  # behind all others: they are in the order of their versions
            self.bytes += _weight(record.key, record.value)
            self._live += len(encode([record]))
        elif before is not None:
            self._deleted.append(record)
            if len(self._deleted) > KEPT_DELETIONS:
                self._forgotten = self._deleted.popleft().version
        self.version = max(self.version, record.version)

    # -- reading -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Record | None:
        """The last change of a key that there is."""
        return self._entries.get(key)

    def entries(self, prefix: str) -> list[Record]:
        """The keys that begin with something, in their order."""
        return sorted(
            (each for key, each in self._entries.items() if key.startswith(prefix)), key=lambda each: each.key
        )

    def changes(self, after: int, prefix: str) -> list[Record] | None:
        """The last change of each key that changed after a version; None if deletions since then are forgotten."""
        if after < self._forgotten:
            return None
        found = []
        for changes in (reversed(self._entries.values()), reversed(self._deleted)):
            for record in changes:
                if record.version <= after:
                    break
                if record.key.startswith(prefix):
                    found.append(record)
        found.sort()
        return found


def _weight(key: str, value: bytes | None) -> int:
    return len(key.encode()) + len(value or b"")
