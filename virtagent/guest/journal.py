"""systemd's journal, through journalctl(1): the one reader that knows all of its files and filters."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from virtagent.api.log import JournalRecord
from virtagent.errors import CallError, InvalidArgument, PermissionDenied, Unavailable

__all__ = ["Journal", "journal_command", "parse_journal_line"]

LONGEST_RECORD = 4 * 1024 * 1024
"""Bytes of one record as JSON; longer ones (core dumps, say) are left out and counted in the log."""

LONGEST_MESSAGE = 64 * 1024
LONGEST_FIELD = 64 * 1024
MOST_FIELDS = 256

FIRST_PATIENCE = 0.5
"""Seconds in which journalctl says what it does not like; then it has begun to read."""

_OWN = {
    "__CURSOR",
    "__REALTIME_TIMESTAMP",
    "__MONOTONIC_TIMESTAMP",
    "MESSAGE",
    "PRIORITY",
    "SYSLOG_IDENTIFIER",
    "_SYSTEMD_UNIT",
    "_SYSTEMD_USER_UNIT",
    "_PID",
    "_UID",
    "_COMM",
    "_HOSTNAME",
    "_TRANSPORT",
    "_BOOT_ID",
}
"""Fields that a record has by other names."""

_FIELD = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
_WRONG = ("cursor", "pattern", "Failed to compile", "boot", "Boot", "Invalid", "parse", "No data available")


def journal_command(
    *,
    follow: bool = False,
    units: Sequence[str] = (),
    user_units: Sequence[str] = (),
    identifiers: Sequence[str] = (),
    fields: Mapping[str, str] | None = None,
    level: int | None = None,
    kernel: bool = False,
    boot: int | str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    grep: str | None = None,
    lines: int | None = None,
    after: str | None = None,
    reverse: bool = False,
) -> list[str]:
    """The arguments of journalctl(1). Each value stands in one argument with its option, and is never taken for one.

    Raises:
        InvalidArgument: a moment without a time zone, the name of a field that none can have, what excludes each other.
    """
    if follow and reverse:
        raise InvalidArgument("follow and reverse exclude each other")
    if follow and until is not None:
        raise InvalidArgument("follow and until exclude each other")
    if follow and lines == 0 and since is None and after is None:
        # What is written until journalctl has opened its files is new as well.
        since, lines = datetime.now(UTC), None
    command = ["--output=json", "--all", "--no-pager", "--quiet"]
    command += ["--follow"] if follow else []
    command += ["--reverse"] if reverse else []
    command += [f"--unit={each}" for each in units]
    command += [f"--user-unit={each}" for each in user_units]
    command += [f"--identifier={each}" for each in identifiers]
    command += [] if level is None else [f"--priority={level}"]
    command += ["--dmesg"] if kernel else []
    command += [] if boot is None else [f"--boot={boot}"]
    command += [] if since is None else [f"--since={_moment(since)}"]
    command += [] if until is None else [f"--until={_moment(until)}"]
    command += [] if grep is None else [f"--grep={grep}"]
    command += [] if after is None else [f"--after-cursor={after}"]
    if lines is not None:
        command += [f"--lines={lines}"]
    elif follow:
        command += ["--no-tail"]
    for name, value in (fields or {}).items():
        if not _FIELD.fullmatch(name):
            raise InvalidArgument(f"{name!r} is no field of the journal; those have capital letters, digits and _")
        command.append(f"{name}={value}")
    return command


def _moment(when: datetime) -> str:
    if when.tzinfo is None:
        raise InvalidArgument(f"{when.isoformat()} has no time zone; write {when.isoformat()}Z, or +01:00 and the like")
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC"


def _text(value: Any) -> str:
    """A field: text; a list of bytes, if it is none; a list of values, if it is there several times; null: too long."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        if value and all(isinstance(each, int) and 0 <= each < 256 for each in value):
            return bytes(value).decode("utf-8", "surrogateescape")
        return "\n".join(_text(each) for each in value)
    return ""


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 20 else None


def parse_journal_line(line: bytes) -> JournalRecord:
    """One line of ``journalctl -o json``.

    Raises:
        ValueError: it is none.
    """
    found = json.loads(line)
    if not isinstance(found, dict) or not isinstance(found.get("__CURSOR"), str):
        raise ValueError("no record of the journal")
    told = {name: _text(value) for name, value in found.items()}
    level, realtime, monotonic = (
        _number(told.get(name, "")) for name in ("PRIORITY", "__REALTIME_TIMESTAMP", "__MONOTONIC_TIMESTAMP")
    )
    others = [(name, value) for name, value in told.items() if name not in _OWN and len(value) <= LONGEST_FIELD]
    return JournalRecord(
        cursor=told["__CURSOR"],
        message=told.get("MESSAGE", "")[:LONGEST_MESSAGE],
        time=None if realtime is None or realtime > 2**57 else datetime.fromtimestamp(realtime / 1e6, UTC),
        monotonic=None if monotonic is None else monotonic / 1e6,
        boot_id=told.get("_BOOT_ID", ""),
        level=level if level is not None and level <= 7 else None,
        identifier=told.get("SYSLOG_IDENTIFIER", ""),
        unit=told.get("_SYSTEMD_UNIT", ""),
        user_unit=told.get("_SYSTEMD_USER_UNIT", ""),
        pid=_number(told.get("_PID", "") or told.get("SYSLOG_PID", "")),
        uid=_number(told.get("_UID", "")),
        command=told.get("_COMM", ""),
        hostname=told.get("_HOSTNAME", ""),
        transport=told.get("_TRANSPORT", ""),
        fields=dict(others[:MOST_FIELDS]),
    )


class Journal(AsyncIterator[JournalRecord]):
    """Records, as journalctl gives them. :meth:`open` it.

    Attributes:
        skipped: records that were too long, or not understood.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._errors = asyncio.create_task(self._read_errors(), name="journalctl's errors")
        self._stopping: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stop_error: CallError | None = None
        self._reading: asyncio.Task[bytes] | None = None
        self._told = b""
        self._first: bytes | None = None
        self.skipped = 0

    @classmethod
    async def open(cls, arguments: Sequence[str], *, tool: str = "journalctl") -> Journal:
        """Start reading.

        Args:
            arguments: see :func:`journal_command`.
            tool: the program; a name is looked for in ``$PATH``.

        Raises:
            InvalidArgument: journalctl does not like an argument.
            PermissionDenied: this process may not read the journal.
            Unavailable: there is no journalctl, or it failed at once.
        """
        path = shutil.which(tool)
        if path is None:
            raise Unavailable("this guest has no systemd journal; log.kernel and files.follow read other logs")
        process = await asyncio.create_subprocess_exec(
            path,
            *arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"},
            start_new_session=True,
            limit=LONGEST_RECORD,
        )
        made = cls(process)
        try:
            await made._begin()
        except BaseException:
            await made.aclose()
            raise
        return made

    async def _begin(self) -> None:
        """Wait for the first record, the end, or long enough, so that a mistake answers the call itself."""
        reading = self._reading = asyncio.create_task(self._line())
        await asyncio.wait([reading], timeout=FIRST_PATIENCE)
        if reading.done():
            self._first = reading.result()
            self._reading = None
            if not self._first:
                await self._check_end()

    async def __anext__(self) -> JournalRecord:
        """The next record.

        Raises:
            CallError: journalctl failed, or :meth:`stop` said why there are no more.
        """
        while True:
            if self._stop_error is not None:
                raise self._stop_error
            line = await self._next_line()
            if line is None:
                continue
            if not line:
                await self._check_end()
                raise StopAsyncIteration
            try:
                return parse_journal_line(line)
            except (ValueError, RecursionError, OverflowError):
                self.skipped += 1

    async def _next_line(self) -> bytes | None:
        """A line; b"" at the end, None when reading was stopped."""
        first, self._first = self._first, None
        if first is not None:
            return first
        reading = self._reading or asyncio.create_task(self._line())
        self._reading = reading
        both: list[asyncio.Future[Any]] = [reading, self._stopping]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            return None
        self._reading = None
        return reading.result()

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        while True:
            try:
                return await self._process.stdout.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return b""
            except asyncio.LimitOverrunError as error:
                await self._skip(error.consumed)

    async def _skip(self, some: int) -> None:
        """Past a record that is too long."""
        self.skipped += 1
        assert self._process.stdout is not None
        while True:
            await self._process.stdout.readexactly(max(1, some))
            try:
                await self._process.stdout.readuntil(b"\n")
                return
            except asyncio.LimitOverrunError as error:
                some = error.consumed
            except asyncio.IncompleteReadError:
                return

    async def _read_errors(self) -> None:
        """The end of what it says of errors."""
        assert self._process.stderr is not None
        while piece := await self._process.stderr.read(4096):
            self._told = (self._told + piece)[-4096:]

    async def _check_end(self) -> None:
        """It has ended; raise if it failed. With ``--grep``, 1 without a word only says that nothing matched."""
        status = await self._process.wait()
        await asyncio.wait([self._errors], timeout=FIRST_PATIENCE)
        told = self._told.decode(errors="replace").strip().splitlines()
        if status == 0 or not told:
            return
        text = f"journalctl: {told[-1]}"
        if "ermission" in text:
            raise PermissionDenied(text)
        raise (InvalidArgument if any(each in text for each in _WRONG) else Unavailable)(text)

    def stop(self, error: CallError) -> None:
        """Whoever waits for more gets this error."""
        self._stop_error = error
        if not self._stopping.done():
            self._stopping.set_result(None)

    async def aclose(self) -> None:
        """End journalctl."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._reading is not None:
            self._reading.cancel()
        self._errors.cancel()
        self._stopping.cancel()
        await asyncio.gather(*filter(None, (self._reading, self._errors)), return_exceptions=True)
        await self._process.wait()
        transport = getattr(self._process, "_transport", None)
        if transport is not None:
            transport.close()  # the pipes: those of a killed process are else closed by the garbage collector
