"""Logs of the guest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

import msgspec

from virtagent.errors import PermissionDenied, Unavailable
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = ["KernelRecord", "Level", "Log", "Since"]

Level = Annotated[int, msgspec.Meta(ge=0, le=7)]
"""syslog(2): 0 emergency, 1 alert, 2 critical, 3 error, 4 warning, 5 notice, 6 info, 7 debug."""

Since = Annotated[float, msgspec.Meta(ge=0)]
"""Seconds since boot, as records have them."""


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
