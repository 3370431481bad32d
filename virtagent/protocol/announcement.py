"""What a hello says beyond its head, and what two of them agree on (docs/protocol.md, rules H8 and H9)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import msgpack

from virtagent.errors import UsageError
from virtagent.protocol.hello import HEAD
from virtagent.protocol.limits import MAX_HELLO, Limits

__all__ = ["Agreement", "Announcement", "Identity", "agree"]

VERSIONS = (1,)
"""Versions of the protocol that this code speaks."""

LONGEST_TEXT = 64
"""Bytes of a text in a hello; the whole must fit 1024 bytes."""

MOST_FEATURES = 8


class Identity(NamedTuple):
    """Who this side says it is. Texts are cut to 64 characters in the hello.

    Attributes:
        role: "host", "guest", or any other.
        name: a name for people.
        software: program and version.
        machine, boot: ids that are stable for the machine, and for one boot of it.
        digest: changes when this side's methods change.
        features: features that this side offers, with their parameters; not to be changed.
    """

    role: str = ""
    name: str = ""
    software: str = ""
    machine: str = ""
    boot: str = ""
    digest: str = ""
    features: Mapping[str, Any] = MappingProxyType({})

    def __hash__(self) -> int:
        return hash(self[:-1])  # the features of most are none, and a mapping has no hash


class Announcement(NamedTuple):
    """A hello's map, with defaults for what is absent (rule H8). Times are seconds, sizes bytes."""

    identity: Identity
    versions: tuple[int, ...] = VERSIONS
    frame: int = 256
    message: int = 1024 * 1024
    calls: int = 64
    streams: int = 32
    window: int = 2048
    keepalive: float = 0.0
    deadline: float = 60.0
    check: bool = True
    line_rate: int | None = None
    exclusive: bool = False

    @classmethod
    def of_limits(
        cls,
        identity: Identity,
        limits: Limits,
        *,
        keepalive: float = 0.0,
        deadline: float = 60.0,
        check: bool = True,
        line_rate: int | None = None,
        exclusive: bool = False,
    ) -> Announcement:
        """This side's own announcement: the limits it accepts, and facts of its channel.

        For the same objects again, as in each connection of a listener, it is the same object and is packed once.
        """
        key = (id(identity), id(limits), keepalive, deadline, check, line_rate, exclusive)
        known = _own.get(key)
        if known is not None:
            return known[0]
        made = cls(
            identity=identity,
            frame=limits.frame,
            message=limits.message,
            calls=limits.calls,
            streams=limits.streams,
            window=limits.window,
            keepalive=keepalive,
            deadline=deadline,
            check=check,
            line_rate=line_rate,
            exclusive=exclusive,
        )
        while len(_own) >= KEPT:
            del _own[next(iter(_own))]
        _own[key] = made, limits
        return made

    def pack(self) -> bytes:
        """The map on the wire."""
        # Features may be equal and not the same on the wire (1 and True), so these are not remembered.
        return packed(self) if self.identity.features else packed_before(self)

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Announcement | None:
        """Read a peer's map; None where it is no map at all."""
        return unpacked_before(bytes(data)) if len(data) <= MAX_HELLO else unpacked(data)


KEPT = 64
"""How many announcements are remembered of each direction: a hello is sent and received twice for a session, and those
who come again, or have much in common, say the same again. They are at most 1 KiB each, whatever a peer sends."""

_own: dict[tuple[Any, ...], tuple[Announcement, Limits]] = {}
"""By the identity of what they were made of, which hashes quickly, and lives as long as the entry."""


def packed(announcement: Announcement) -> bytes:
    """See :meth:`Announcement.pack`."""
    who = announcement.identity
    texts = ("role", "name", "software", "machine", "boot", "digest")
    limits = ("frame", "message", "calls", "streams", "window")
    content: dict[str, Any] = {key: shortened(value) for key in texts if (value := getattr(who, key))}
    content["versions"] = list(announcement.versions)
    content["limits"] = {key: getattr(announcement, key) for key in limits}
    if who.features:
        content["features"] = dict(who.features)
    content["keepalive"] = round(announcement.keepalive * 1000)
    content["deadline"] = round(announcement.deadline * 1000)
    content["check"] = announcement.check
    if announcement.line_rate is not None:
        content["line_rate"] = announcement.line_rate
    if announcement.exclusive:
        content["exclusive"] = True
    data = msgpack.packb(content, unicode_errors="surrogateescape")
    if len(data) > MAX_HELLO - HEAD.size:
        raise UsageError(f"this side's hello is {len(data)} bytes long: offer fewer or shorter features")
    return data


packed_before = lru_cache(KEPT)(packed)


def unpacked(data: bytes | memoryview) -> Announcement | None:
    """See :meth:`Announcement.unpack`."""
    try:
        content = msgpack.unpackb(data, unicode_errors="surrogateescape")
    except (ValueError, msgpack.StackError):
        return None
    if type(content) is not dict:
        return None
    limits = typed(content, "limits", dict, {})
    features = {key: value for key, value in typed(content, "features", dict, {}).items() if type(key) is str}
    return Announcement(
        identity=Identity(
            role=text(content, "role"),
            name=text(content, "name"),
            software=text(content, "software"),
            machine=text(content, "machine"),
            boot=text(content, "boot"),
            digest=text(content, "digest"),
            features=dict(list(features.items())[:MOST_FEATURES]),
        ),
        versions=tuple(each for each in typed(content, "versions", list, [1])[:16] if type(each) is int),
        frame=bounded(limits, "frame", 256, 256, 0xFFFFFF),
        message=bounded(limits, "message", 1024 * 1024, 256, 0xFFFFFFFF),
        calls=bounded(limits, "calls", 64, 1, 1 << 31),
        streams=bounded(limits, "streams", 32, 0, 1 << 31),
        window=bounded(limits, "window", 2048, 1, 1 << 31),
        keepalive=bounded(content, "keepalive", 0, 0, 86_400_000) / 1000,
        deadline=bounded(content, "deadline", 60_000, 0, 1 << 40) / 1000,
        check=typed(content, "check", bool, True),
        line_rate=bounded(content, "line_rate", 0, 0, 1 << 40) or None,
        exclusive=typed(content, "exclusive", bool, False),
    )


unpacked_before = lru_cache(KEPT)(unpacked)
"""The same, remembered."""


class Agreement(NamedTuple):
    """What holds in a session (rule H9).

    Attributes:
        version: of the protocol.
        frame: the largest payload of a frame, bytes.
        check: frames have payload checks.
        line_rate: bytes per second of the slower line, or None.
        features: names of the features that are on.
    """

    version: int
    frame: int
    check: bool
    line_rate: int | None
    features: frozenset[str]


def agree(mine: Announcement, theirs: Announcement) -> Agreement | None:
    """What two announcements agree on; None without a common version."""
    common = [version for version in mine.versions if version in theirs.versions]
    if not common:
        return None
    rates = [rate for rate in (mine.line_rate, theirs.line_rate) if rate is not None]
    return Agreement(
        version=max(common),
        frame=min(mine.frame, theirs.frame),
        check=mine.check or theirs.check,
        line_rate=min(rates, default=None),
        features=frozenset(mine.identity.features).intersection(theirs.identity.features),
    )


def typed(content: Mapping[Any, Any], key: str, kind: type, default: Any) -> Any:
    """A value of the right type, or the default (rule H8)."""
    value = content.get(key, default)
    return value if type(value) is kind else default


def shortened(value: str) -> str:
    """A text cut to what a hello may say."""
    return value.encode("utf-8", "surrogateescape")[:LONGEST_TEXT].decode("utf-8", "ignore")


def text(content: Mapping[Any, Any], key: str) -> str:
    """A text, cut to what a hello may say."""
    return str(typed(content, key, str, ""))[:LONGEST_TEXT]


def bounded(content: Mapping[Any, Any], key: str, default: int, lowest: int, highest: int) -> int:
    """An integer forced into its bounds (rule L1)."""
    return max(lowest, min(int(typed(content, key, int, default)), highest))
