"""The service ``log``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from msgspec import structs

from virtagent.api.log import (
    Boot,
    Cursor,
    Grep,
    JournalRecord,
    KernelRecord,
    Level,
    Lines,
    Log,
    Match,
    Matches,
    Since,
)
from virtagent.errors import CallError, Unavailable
from virtagent.guest.resources import GuestService, Resources
from virtagent.service.options import method

if TYPE_CHECKING:
    from virtagent.guest.kernel_log import KernelLog

__all__ = ["Followers", "LogService"]


class Stoppable(Protocol):
    """A log that can be ended."""

    def stop(self, error: CallError) -> None:
        """Whoever waits for more gets this error."""


class Followers:
    """The logs that are open, so that the agent's end need not wait for those that are followed."""

    def __init__(self) -> None:
        self._open: WeakSet[Stoppable] = WeakSet()

    def add(self, log: Stoppable) -> None:
        """Remember a log, as long as somebody reads it."""
        self._open.add(log)

    def stop(self, message: str) -> None:
        """End the logs, with ``Unavailable``."""
        for log in list(self._open):
            log.stop(Unavailable(message))


class LogService(GuestService, Log):
    """Reads the kernel's log, and systemd's journal.

    Args:
        resources: what services share.
        open_log: opens the kernel's; given whether to follow. None: ``open_kernel_log``, loaded by the first call.
        journal_arguments: for journalctl(1), beside those that a call asks for, such as "--directory=...".
    """

    def __init__(
        self,
        resources: Resources | None = None,
        *,
        open_log: Callable[..., KernelLog] | None = None,
        journal_arguments: Sequence[str] = (),
    ) -> None:
        super().__init__(resources)
        self._open_log = open_log
        self._journal_arguments = journal_arguments
        self._followers = Followers()
        self.resources.on_stop(lambda reason, message: self._followers.stop(message))

    @method(inline=True)
    def kernel(
        self, *, follow: bool = False, since: Since | None = None, level: Level | None = None
    ) -> AsyncIterator[KernelRecord]:
        # A plain `def`, inline: opening does not block, and its errors answer the call itself.
        if self._open_log is None:
            from virtagent.guest.kernel_log import open_kernel_log  # noqa: PLC0415 - few hosts ask for it

            self._open_log = open_kernel_log
        log = self._open_log(follow=follow)
        self._followers.add(log)
        return Chosen(log, since=since, level=level)

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
        from virtagent.guest.journal import Journal, journal_command  # noqa: PLC0415 - few hosts ask for it

        arguments = journal_command(
            follow=follow,
            units=units or (),
            user_units=user_units or (),
            identifiers=identifiers or (),
            fields=fields,
            level=level,
            kernel=kernel,
            boot=boot,
            since=since,
            until=until,
            grep=grep,
            lines=lines,
            after=after,
            reverse=reverse,
        )
        journal = await Journal.open([*self._journal_arguments, *arguments])
        self._followers.add(journal)
        return journal


class Chosen(AsyncIterator[KernelRecord]):
    """The records that were asked for. What the others knew to be lost is told with the next one that is given."""

    def __init__(self, log: KernelLog, *, since: float | None, level: int | None) -> None:
        self._log = log
        self._since = since
        self._level = level
        self._lost = 0

    async def __anext__(self) -> KernelRecord:
        while True:
            record = await anext(self._log)
            self._lost += record.lost
            if (self._level is None or record.level <= self._level) and (
                self._since is None or record.timestamp >= self._since
            ):
                if self._lost != record.lost:
                    record = structs.replace(record, lost=self._lost)
                self._lost = 0
                return record

    async def aclose(self) -> None:
        """Stop reading."""
        await self._log.aclose()
