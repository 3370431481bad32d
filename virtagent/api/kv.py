"""A small key/value store that host and guest share, kept in the guest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from virtagent.errors import (
    Aborted,
    DataLoss,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = [
    "LARGEST_VALUE",
    "LONGEST_KEY",
    "MOST_BYTES",
    "MOST_KEYS",
    "Key",
    "Kv",
    "KvChange",
    "KvEntry",
    "KvStatus",
    "KvWritten",
    "Prefix",
    "Value",
    "Version",
]

LONGEST_KEY = 512
"""Bytes of a key in UTF-8."""

LARGEST_VALUE = 64 * 1024
"""Bytes of a value."""

MOST_KEYS = 4096
"""Keys that there may be."""

MOST_BYTES = 4 * 1024 * 1024
"""Bytes of all keys and values together."""

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_KEY)]
"""Text without control characters, at most 512 bytes in UTF-8; by custom with slashes: "web/address"."""

Prefix = Annotated[str, msgspec.Meta(max_length=LONGEST_KEY)]
"""What keys begin with; "": all."""

Value = Annotated[bytes, msgspec.Meta(max_length=LARGEST_VALUE)]

Version = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
"""Counts the changes of the store; a key's version is that of its last change. 0: there is no such key."""

ChangeKind = Literal["current", "ready", "set", "deleted", "reset"]


class KvEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A key with its value.

    Attributes:
        version: of its last change.
        time: of that change, by the guest's clock.
        value: None where only keys were asked for.
    """

    key: str
    version: int
    time: datetime
    value: bytes | None = None


class KvWritten(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a write.

    Attributes:
        version: of the key now; 0: there was nothing to delete.
        durable: it is on disk, and survives a crash of the guest. False while the filesystem is frozen: it is written
            after the thaw.
    """

    version: int
    durable: bool


class KvChange(msgspec.Struct, frozen=True, kw_only=True):
    """An item of a watch.

    Attributes:
        kind: "current": the key has this value (before "ready"); "ready": all that there is has been told, and what
            follows are changes; "set"; "deleted"; "reset": the watcher was so slow that deletions were forgotten: what
            there is follows anew, and keys that are not told up to the next "ready" are gone.
        version: of the change; of "ready": the version of the whole store.
        key: "" for "ready" and "reset".
        value: None where the key has none.
    """

    kind: ChangeKind
    version: int
    key: str = ""
    value: bytes | None = None
    time: datetime | None = None


class KvStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The store as a whole.

    Attributes:
        keys: how many.
        bytes: of keys and values together.
        version: of the last change.
        path: the file in the guest.
        waiting: changes that are not on disk yet, as its filesystem is frozen.
        damage: what was found wrong with the file when it was read, and where the copy of it is; "": nothing.
    """

    keys: int
    bytes: int
    version: int
    path: str
    waiting: int = 0
    damage: str = ""


class Kv(Service, name="kv", interface=True):
    """A small key/value store that host and guest share."""

    @method(idempotent=True, role="files-read", since="0.1.0", errors=(NotFound, InvalidArgument))
    async def get(self, key: Key) -> KvEntry:
        """The value of a key.

        Raises:
            NotFound: there is no such key.
            InvalidArgument: it is no key: too long, or with control characters.
        """
        raise NotImplementedError

    @method(
        role="files-write",
        since="0.1.0",
        secrets=("value",),
        errors=(Aborted, InvalidArgument, ResourceExhausted, PermissionDenied, DataLoss, Unavailable),
    )
    async def set(self, key: Key, value: Value, *, version: Version | None = None) -> KvWritten:
        """Give a key a value; it is on disk when this returns (see :class:`KvWritten`).

        Args:
            key: at most 512 bytes.
            value: at most 64 KiB.
            version: write only if the key has this version; 0: only if there is no such key.

        Raises:
            Aborted: the key has another version; the error's data has ``version``, the present one.
            InvalidArgument: it is no key.
            ResourceExhausted: the store, or the disk, is full.
            PermissionDenied: the agent may not write its file.

        Cancellation does not undo it: it is written, or not.
        """
        raise NotImplementedError

    @method(
        role="files-write",
        since="0.1.0",
        errors=(Aborted, InvalidArgument, ResourceExhausted, PermissionDenied, DataLoss, Unavailable),
    )
    async def delete(self, key: Key, *, version: Version | None = None) -> KvWritten:
        """Take a key away; that there is none is no error.

        Args:
            key: which.
            version: only if it has this version.

        Raises:
            Aborted: the key has another version; the error's data has ``version``, the present one.
        """
        raise NotImplementedError

    @method(idempotent=True, role="files-read", since="0.1.0")
    def list(self, prefix: Prefix = "", *, values: bool = False) -> AsyncIterator[KvEntry]:
        """The keys that begin with something, in their order; all as they are at one moment.

        Args:
            prefix: "": all.
            values: with their values.
        """
        raise NotImplementedError

    @method(idempotent=True, role="files-read", since="0.1.0", errors=(ResourceExhausted, Unavailable))
    def watch(self, prefix: Prefix = "") -> AsyncIterator[KvChange]:
        """What there is, and then each change, without end.

        A watcher that is slow is told the last value of a key, not all those between.

        Args:
            prefix: only keys that begin with it.

        Raises:
            ResourceExhausted: the caller has as many watches as it may have.
            Unavailable: (at the stream's end) the agent goes.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def status(self) -> KvStatus:
        """How much there is, where, and whether that is well."""
        raise NotImplementedError
