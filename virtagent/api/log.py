"""Logs of the guest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

import msgspec

from virtagent.errors import InvalidArgument, PermissionDenied, Unavailable
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = [
    "Boot",
    "Cursor",
    "Grep",
    "JournalRecord",
    "KernelRecord",
    "Level",
    "Lines",
    "Log",
    "Match",
    "Matches",
    "Since",
]

Level = Annotated[int, msgspec.Meta(ge=0, le=7)]
"""syslog(2): 0 emergency, 1 alert, 2 critical, 3 error, 4 warning, 5 notice, 6 info, 7 debug."""

Since = Annotated[float, msgspec.Meta(ge=0)]
"""Seconds since boot, as records have them."""


Match = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"^[^\x00\n]*\Z")]

Matches = Annotated[list[Match], msgspec.Meta(max_length=64)]

Lines = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]

Boot = Annotated[int, msgspec.Meta(ge=-100_000, le=100_000)] | Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}\\Z")]
"""journalctl(1), ``--boot``: 0 is this boot, -1 the one before, 1 the first that is known; or a boot's id."""

Grep = Annotated[str, msgspec.Meta(min_length=1, max_length=1024, pattern=r"^[^\x00\n]*\Z")]

Cursor = Annotated[str, msgspec.Meta(min_length=1, max_length=1024, pattern=r"^[\x21-\x7e]*\Z")]
"""Where a record is in the journal, as the record says."""


class KernelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the kernel's ring buffer (Documentation/ABI/testing/dev-kmsg).

    Attributes:
        sequence: the kernel's own count; a gap means that records were overwritten before they were read.
        timestamp: seconds since boot, on the kernel's monotonic clock, which stands still in suspend.
        time: the same moment by the guest's clock; an estimate, since the kernel does not record it.
        level: see :data:`Level`.
        facility: 0 kernel, 1 user, 3 daemon, ... (syslog(3)).
        message: without its level and time.
        fields: the continuation fields, such as ``SUBSYSTEM`` and ``DEVICE``.
        continued: the record is a fragment of a line.
        lost: how many records right before this one were overwritten before they could be read.
    """

    sequence: int
    timestamp: float
    level: Level
    message: str
    time: datetime | None = None
    facility: int = 0
    fields: dict[str, str] = {}
    continued: bool = False
    lost: int = 0


class JournalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record of systemd's journal (systemd.journal-fields(7)). "" and None: the record does not say.

    Attributes:
        cursor: where it is, to go on from there.
        time: when the journal received it, by the guest's clock.
        monotonic: seconds since boot.
        boot_id: of its boot.
        message: what is no UTF-8 is surrogate escapes.
        level: see :data:`Level`.
        identifier: what wrote it, such as "sshd".
        unit: the unit of systemd, such as "ssh.service".
        user_unit: the unit of a user's systemd.
        pid, uid: of the process.
        command: its name.
        hostname: of the machine.
        transport: "journal", "stdout", "syslog", "kernel", "audit" or "driver".
        fields: the others, as text; what is longer than 64 KiB is left out.
    """

    cursor: str
    message: str
    time: datetime | None = None
    monotonic: float | None = None
    boot_id: str = ""
    level: Level | None = None
    identifier: str = ""
    unit: str = ""
    user_unit: str = ""
    pid: int | None = None
    uid: int | None = None
    command: str = ""
    hostname: str = ""
    transport: str = ""
    fields: dict[str, str] = {}


class Log(Service, name="log", interface=True):
    """Logs of the guest."""

    @method(idempotent=True, role="observe", since="0.1.0", errors=(PermissionDenied, Unavailable))
    def kernel(
        self, *, follow: bool = False, since: Since | None = None, level: Level | None = None
    ) -> AsyncIterator[KernelRecord]:
        """The kernel's records, oldest first.

        Args:
            follow: go on with new ones as they come, without end.
            since: only records from this many seconds since boot on.
            level: only records of this level and graver (lower) ones.

        Raises:
            PermissionDenied: the agent may not read them.
            Unavailable: the guest has no kernel log that could be read, as in a container.
        """
        raise NotImplementedError

    @method(idempotent=True, role="files-read", since="0.1.0", errors=(InvalidArgument, PermissionDenied, Unavailable))
    async def journal(
        self,
        *,
        follow: bool = False,
        units: Matches | None = None,
        user_units: Matches | None = None,
        identifiers: Matches | None = None,
        fields: dict[Match, Match] | None = None,
        level: Level | None = None,
        kernel: bool = False,
        boot: Boot | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        grep: Grep | None = None,
        lines: Lines | None = None,
        after: Cursor | None = None,
        reverse: bool = False,
    ) -> AsyncIterator[JournalRecord]:
        """Records of systemd's journal, oldest first; all conditions must hold.

        A program of the guest, journalctl(1), reads them; it ends with the stream, however that ends.

        Args:
            follow: go on with new ones as they come, without end.
            units: of one of these units; patterns (glob(7)) match those that are loaded.
            user_units: of one of these units of users.
            identifiers: from one of these programs, as they call themselves.
            fields: with these fields, such as ``{"_SYSTEMD_SLICE": "system.slice"}``.
            level: of this level and graver (lower) ones.
            kernel: the kernel's only; of this boot, unless ``boot`` is given.
            boot: of this boot.
            since: received at this moment or later; with a time zone.
            until: received at this moment or before; with a time zone.
            grep: whose message matches this regular expression (PCRE2); all in lower case: whatever the case.
            lines: the last so many only; with ``follow``, before new ones.
            after: those after the record with this cursor: go on after a session was lost.
            reverse: newest first.

        Raises:
            InvalidArgument: a cursor, pattern or boot that the journal does not know; a moment without a time zone.
            Unavailable: the guest has no journal, or journalctl failed.
        """
        raise NotImplementedError
