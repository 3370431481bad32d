"""systemd's journal, as a real journalctl reads it from real journal files."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.guest.journal_files import BOOT, FIRST, needs_journal, write_journal
from virtagent.api.log import JournalRecord
from virtagent.errors import InvalidArgument, Unavailable
from virtagent.guest.journal import Journal, journal_command, parse_journal_line
from virtagent.guest.log import LogService
from virtagent.guest.resources import Resources

START = datetime.fromtimestamp(FIRST / 1e6, UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty records of two units, the last of which are odd ones."""
    made = tmp_path_factory.mktemp("journal")
    records: list[dict[str, str | bytes]] = [
        {
            "MESSAGE": f"message number {number}",
            "PRIORITY": str(number % 8),
            "SYSLOG_IDENTIFIER": "sshd" if number % 2 else "CRON",
            "_SYSTEMD_UNIT": "ssh.service" if number % 2 else "cron.service",
            "_PID": str(100 + number),
            "_UID": "0",
            "_TRANSPORT": "syslog",
            "_HOSTNAME": "web1",
            "MY_FIELD": f"value {number}",
        }
        for number in range(18)
    ]
    records.append({"MESSAGE": b"no \xff UTF-8\nand two lines", "SYSLOG_IDENTIFIER": "odd"})
    records.append({"MESSAGE": "x" * 100_000, "SYSLOG_IDENTIFIER": "long"})
    write_journal(made / "a.journal", records)
    return made


@pytest.fixture
def service(folder: Path) -> LogService:
    return LogService(journal_arguments=[f"--directory={folder}"])


async def read(service: LogService, **conditions: Any) -> list[JournalRecord]:
    async with asyncio.timeout(30):
        journal = await service.journal(**conditions)
        try:
            return [record async for record in journal]
        finally:
            await journal.aclose()  # type: ignore[attr-defined]


@needs_journal
async def test_a_record_has_its_fields_by_type(service: LogService) -> None:
    first = (await read(service))[0]
    assert first.message == "message number 0"
    assert first.time == START
    assert (first.monotonic, first.boot_id, first.level) == (1.0, BOOT, 0)
    assert (first.identifier, first.unit, first.pid, first.uid) == ("CRON", "cron.service", 100, 0)
    assert (first.transport, first.hostname) == ("syslog", "web1")
    assert first.fields == {"MY_FIELD": "value 0"}
    assert first.cursor


@needs_journal
async def test_what_is_no_text_and_what_is_long_is_told_too(service: LogService) -> None:
    odd, long = (await read(service))[-2:]
    assert odd.message.encode("utf-8", "surrogateescape") == b"no \xff UTF-8\nand two lines"
    assert long.message == "x" * 65536


@needs_journal
@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        ({"units": ["ssh.service"]}, range(1, 18, 2)),
        ({"units": ["ssh.service", "cron.service"]}, range(18)),
        ({"identifiers": ["CRON"]}, range(0, 18, 2)),
        ({"level": 1}, [0, 1, 8, 9, 16, 17]),
        ({"since": START + timedelta(seconds=10.5), "identifiers": ["CRON", "sshd"]}, range(11, 18)),
        ({"until": START + timedelta(seconds=2)}, [0, 1, 2]),
        ({"grep": "number 1[0-2]$"}, [10, 11, 12]),
        ({"grep": "nothing like this"}, []),
        ({"fields": {"MY_FIELD": "value 7"}}, [7]),
        ({"boot": BOOT, "units": ["ssh.service"], "lines": 2}, [15, 17]),
        ({"units": ["ssh.service"], "lines": 2, "reverse": True}, [17, 15]),
    ],
)
async def test_only_what_was_asked_for_is_given(
    conditions: dict[str, Any], numbers: list[int], service: LogService
) -> None:
    assert [each.message for each in await read(service, **conditions)] == [f"message number {n}" for n in numbers]


@needs_journal
async def test_reading_goes_on_after_a_cursor(service: LogService) -> None:
    found = await read(service, units=["ssh.service"])
    assert await read(service, units=["ssh.service"], after=found[3].cursor) == found[4:]


@needs_journal
async def test_a_followed_journal_brings_new_records_and_its_process_ends_with_the_stream(tmp_path: Path) -> None:
    write_journal(tmp_path / "a.journal", [{"MESSAGE": f"old {number}"} for number in range(5)])
    service = LogService(journal_arguments=[f"--directory={tmp_path}"])
    async with asyncio.timeout(30):
        journal = await service.journal(follow=True, lines=2)
        assert isinstance(journal, Journal)
        assert [(await anext(journal)).message for _ in range(2)] == ["old 3", "old 4"]
        await asyncio.to_thread(write_journal, tmp_path / "b.journal", [{"MESSAGE": "new"}], start=10)
        assert (await anext(journal)).message == "new"
        pid = journal._process.pid
        await journal.aclose()
    assert not Path(f"/proc/{pid}").exists()


@needs_journal
async def test_who_waits_for_more_is_told_when_the_agent_goes(folder: Path) -> None:
    resources = Resources()
    service = LogService(resources, journal_arguments=[f"--directory={folder}"])
    async with asyncio.timeout(30):
        journal = await service.journal(follow=True, lines=0)
        waiting = asyncio.ensure_future(anext(journal))
        await asyncio.sleep(0)
        await resources.stop("stop", "the agent was stopped")
        with pytest.raises(Unavailable, match="the agent was stopped"):
            await waiting
        await journal.aclose()  # type: ignore[attr-defined]


@needs_journal
@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        ({"after": "bogus"}, "cursor"),
        ({"grep": "("}, "pattern"),
        ({"boot": "f" * 32}, "boot"),
        ({"boot": -7}, "boot"),
    ],
)
async def test_what_the_journal_does_not_know_answers_the_call(
    conditions: dict[str, Any], told: str, service: LogService
) -> None:
    with pytest.raises(InvalidArgument, match=told):
        await read(service, **conditions)


async def test_a_guest_without_journalctl_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="no systemd journal"):
        await LogService().journal()


async def test_a_tool_that_fails_is_told_with_its_words(tmp_path: Path) -> None:
    tool = tmp_path / "journalctl"
    tool.write_text("#!/bin/sh\necho 'first word' >&2; echo 'the disk is on fire' >&2; exit 3\n")
    tool.chmod(0o755)
    with pytest.raises(Unavailable, match="the disk is on fire"):
        await Journal.open([], tool=str(tool))


async def test_lines_that_are_too_long_or_no_records_are_passed_over(tmp_path: Path) -> None:
    tool = tmp_path / "journalctl"
    tool.write_text(
        "#!/bin/sh\n"
        """echo '{"__CURSOR": "a", "MESSAGE": "one"}'\n"""
        "head -c 9000000 /dev/zero | tr '\\0' x; echo\n"
        "echo 'no JSON'\n"
        """echo '{"__CURSOR": "b", "MESSAGE": "two"}'\n"""
    )
    tool.chmod(0o755)
    async with asyncio.timeout(30):
        journal = await Journal.open([], tool=str(tool))
        assert [record.message async for record in journal] == ["one", "two"]
        assert journal.skipped == 2
        await journal.aclose()


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_line_is_anything_but_a_record_or_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):
        parse_journal_line(line)


_VALUE = st.none() | st.text() | st.lists(st.integers(0, 255)) | st.lists(st.text()) | st.integers() | st.booleans()
_NAMES = st.sampled_from(["MESSAGE", "PRIORITY", "_PID", "_UID", "__REALTIME_TIMESTAMP", "__MONOTONIC_TIMESTAMP", "X"])


@given(st.dictionaries(_NAMES, _VALUE))
def test_any_fields_make_a_record(fields: dict[str, Any]) -> None:
    record = parse_journal_line(msgspec.json.encode({"__CURSOR": "s=1", **fields}))
    assert record.cursor == "s=1"
    assert record.level is None or 0 <= record.level <= 7


@given(st.lists(st.text(min_size=1)), st.text(min_size=1))
def test_no_value_can_become_an_option(units: list[str], pattern: str) -> None:
    command = journal_command(units=units, grep=pattern, fields={"MESSAGE": pattern})
    assert [each for each in command if each.startswith("--unit=")] == [f"--unit={each}" for each in units]
    assert f"--grep={pattern}" in command
    assert all(each.startswith(("--", "MESSAGE=")) for each in command)
    assert len(command) == 4 + len(units) + 2


@pytest.mark.parametrize(
    "conditions",
    [
        {"since": datetime(2026, 1, 1)},  # noqa: DTZ001 - that is what is refused
        {"follow": True, "reverse": True},
        {"follow": True, "until": START},
        {"fields": {"--vacuum-size": "1"}},
        {"fields": {"lower": "1"}},
    ],
)
def test_what_cannot_be_is_refused(conditions: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        journal_command(**conditions)


def test_who_follows_from_now_on_misses_nothing_that_is_written_while_journalctl_starts() -> None:
    before = datetime.now(UTC)
    command = journal_command(follow=True, lines=0)
    (since,) = [each.removeprefix("--since=") for each in command if each.startswith("--since=")]
    assert before <= datetime.strptime(since, "%Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC) <= datetime.now(UTC)
    assert "--no-tail" in command
    assert "--lines=0" in journal_command(follow=True, lines=0, after="s=1")


def test_moments_are_given_in_utc() -> None:
    berlin = datetime.fromisoformat("2026-09-21T16:13:20.25+02:00")
    assert "--since=2026-09-21 14:13:20.250000 UTC" in journal_command(since=berlin)
