"""The kernel's log as an async iterator: from /dev/kmsg, or from syslog(2) where there is none."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime

from virtagent.api.log import KernelRecord
from virtagent.errors import CallError, PermissionDenied, Unavailable
from virtagent.guest import facts
from virtagent.guest.kmsg import moment, parse_record, parse_syslog_line
from virtagent.guest.os_errors import call_error
from virtagent.guest.readable import watch

__all__ = ["KMSG", "KernelLog", "open_kernel_log"]

KMSG = "/dev/kmsg"

RECORD = 8192
"""Bytes of the longest record (CONSOLE_EXT_LOG_MAX in include/linux/printk.h)."""

PER_TURN = 256
"""Records in a row before other work gets its turn."""

POLL = 1.0
"""Seconds between two looks at a log that cannot tell of news."""


class KernelLog(AsyncIterator[KernelRecord]):
    """Records, oldest first; how they are got is the subclasses' part."""

    def __init__(self, *, follow: bool) -> None:
        self._follow = follow
        self._turn = 0
        self._ready: asyncio.Future[None] | None = None
        self._stop_error: CallError | None = None

    def next_record(self) -> KernelRecord | None:
        """The next record that is there, or None. Raises OSError."""
        raise NotImplementedError

    def watch(self) -> Callable[[], object]:
        """Have :meth:`wake` called when there may be more; returns what ends that."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of everything."""

    async def __anext__(self) -> KernelRecord:
        """The next record.

        Raises:
            CallError: reading failed, or :meth:`stop` said why there are no more.
        """
        while True:
            if self._stop_error is not None:
                raise self._stop_error
            self._turn += 1
            if self._turn % PER_TURN == 0:
                await asyncio.sleep(0)
            try:
                record = self.next_record()
            except OSError as error:
                raise call_error("the kernel log", error) from None
            if record is not None:
                return record
            if not self._follow:
                self.close()
                raise StopAsyncIteration
            await self._wait()

    async def _wait(self) -> None:
        self._ready = asyncio.get_running_loop().create_future()
        unwatch = self.watch()
        try:
            await self._ready
        finally:
            unwatch()
            self._ready = None

    def wake(self) -> None:
        """Look again."""
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    def stop(self, error: CallError) -> None:
        """Whoever waits for more gets this error."""
        self._stop_error = error
        self.wake()

    async def aclose(self) -> None:
        """Stop reading."""
        self.close()

    def __del__(self) -> None:
        self.close()


class Kmsg(KernelLog):
    """/dev/kmsg: each read gives one record, EAGAIN is the end of what there is, EPIPE tells that some were lost."""

    def __init__(self, descriptor: int, *, follow: bool, booted: datetime) -> None:
        super().__init__(follow=follow)
        self._descriptor = descriptor
        self._booted = booted
        self._expected: int | None = None

    def next_record(self) -> KernelRecord | None:
        while self._descriptor >= 0:
            try:
                data = os.read(self._descriptor, RECORD)
            except BlockingIOError:
                return None
            except BrokenPipeError:
                continue  # the position is at the oldest record now; its sequence number tells how many are lost
            except OSError as error:
                if error.errno == errno.EINVAL:
                    continue  # a record longer than RECORD: the kernel has gone past it
                raise
            if not data:
                return None
            record = parse_record(data, booted=self._booted)
            expected, self._expected = self._expected, record.sequence + 1
            if expected is not None and record.sequence > expected:
                record = parse_record(data, booted=self._booted, lost=record.sequence - expected)
            return record
        return None

    def watch(self) -> Callable[[], object]:
        return watch(self._descriptor, self.wake)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class Syslog(KernelLog):
    """syslog(2): the whole text again and again; what is new stands behind the last line that was seen.

    Sequence numbers count the lines given; when the last line seen is gone, all that is there is new, and how many
    were lost cannot be told.
    """

    def __init__(self, read_all: Callable[[], str], *, follow: bool, booted: datetime, poll: float = POLL) -> None:
        super().__init__(follow=follow)
        self._read_all = read_all
        self._booted = booted
        self._poll = poll
        self._sequence = 0
        self._last: list[str] = []
        self._lines: Iterator[str] = iter(self._news())

    def _news(self) -> list[str]:
        lines = self._read_all().splitlines()
        seen, self._last = self._last, lines[-3:] or self._last
        for at in range(len(lines) - len(seen), -1, -1):
            if lines[at : at + len(seen)] == seen:
                return lines[at + len(seen) :] if seen else lines
        return lines

    def next_record(self) -> KernelRecord | None:
        line = next(self._lines, None)
        if line is None and self._sequence:
            self._lines = iter(self._news())
            line = next(self._lines, None)
        if line is None:
            return None
        record = parse_syslog_line(line, self._sequence, booted=self._booted)
        self._sequence += 1
        return record

    def watch(self) -> Callable[[], object]:
        return asyncio.get_running_loop().call_later(self._poll, self.wake).cancel


def open_kernel_log(*, follow: bool, path: str = KMSG, read_all: Callable[[], str] | None = None) -> KernelLog:
    """Open the kernel's log; nothing in here blocks.

    Args:
        follow: go on with new records as they come.
        path: the device.
        read_all: reads the whole log where there is no device; None: syslog(2).

    Raises:
        PermissionDenied: this process may not read it.
        Unavailable: there is none.
    """
    booted = moment(facts.boot_time())
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        return Kmsg(descriptor, follow=follow, booted=booted)
    except OSError:
        pass
    from virtagent.guest import klogctl  # noqa: PLC0415 - loads ctypes, which few guests need

    try:
        return Syslog(read_all or klogctl.read_all, follow=follow, booted=booted)
    except PermissionError:
        raise PermissionDenied(
            "the agent may not read the kernel log; run it as root or with CAP_SYSLOG, or set kernel.dmesg_restrict=0"
        ) from None
    except OSError as error:
        raise Unavailable(f"there is no kernel log here: {error.strerror or error}") from None
