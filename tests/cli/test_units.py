"""The agent as a process, over a real D-Bus, with a systemd that these tests hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import virtagent
from tests.cli.programs import LIMIT, Daemon, command_line, daemon, environment
from tests.guest.fake_systemd import FakeSystemd
from tests.guest.journal_files import needs_journal, write_journal
from tests.guest.message_bus import message_bus
from virtagent.guest.log import LogService


class Bench:
    """A guest with units, and the program that talks to it."""

    def __init__(self, running: Daemon, systemd: FakeSystemd) -> None:
        self.running = running
        self.systemd = systemd

    async def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run the program: its exit code, output and errors."""
        process = await asyncio.create_subprocess_exec(
            *command_line(self.running.url, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(self.running.directory),
        )
        output, errors = await asyncio.wait_for(process.communicate(), LIMIT)
        assert process.returncode is not None
        return process.returncode, output.decode(), errors.decode()


@pytest.fixture
async def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    with message_bus(tmp_path) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        systemd = await FakeSystemd().start(address)
        with daemon(tmp_path) as running:
            yield Bench(running, systemd)
        systemd.bus.disconnect()
        await systemd.bus.wait_for_disconnect()  # type: ignore[no-untyped-call]


async def test_units_are_listed_without_naming_the_verb(units: Bench) -> None:
    units.systemd.add("ssh.service", "active", "running", Description="A shell\x1b[2J")
    units.systemd.add("bad.service", "failed", "failed")
    code, output, _ = await units("units")
    assert code == 0
    heading, bad, ssh = output.splitlines()
    assert heading.split() == ["UNIT", "LOAD", "ACTIVE", "SUB", "DESCRIPTION"]
    assert bad.split()[:4] == ["bad.service", "loaded", "failed", "failed"]
    assert ssh.endswith("A shell\\x1b[2J")
    _, output, _ = await units("units", "--failed", "--json")
    assert [json.loads(line)["name"] for line in output.splitlines()] == ["bad.service"]
    _, output, _ = await units("units", "list", "ssh*", "-t", "service")
    assert len(output.splitlines()) == 2


async def test_a_status_is_shown_and_its_exit_code_tells_whether_the_unit_runs(units: Bench) -> None:
    units.systemd.add("web.service", "active", "running", MainPID=17, MemoryCurrent=3 << 20, UnitFileState="enabled")
    code, output, _ = await units("units", "status", "web")
    assert code == 0
    assert "active:       active (running)" in output
    assert "main pid:     17" in output
    assert "memory:       3.0 MiB" in output
    units.systemd.add("web.service", "failed", "failed")
    assert (await units("units", "status", "web"))[0] == 3
    code, _, errors = await units("units", "status", "nope")
    assert (code, errors) == (1, "virtagent: there is no unit nope.service; check the name: it is the guest's\n")


async def test_jobs_are_done_one_after_the_other(units: Bench) -> None:
    units.systemd.add("web.service")
    units.systemd.add("db.service")
    assert await units("units", "start", "web", "db") == (0, "", "")
    assert units.systemd.units["db.service"]["ActiveState"] == "active"
    code, output, _ = await units("units", "restart", "--only-running", "web", "--json")
    assert (code, json.loads(output)["active"]) == (0, "active")
    assert ("TryRestartUnit", ["web.service", "replace"]) in units.systemd.asked


async def test_a_job_that_fails_is_one_line_that_says_why(units: Bench) -> None:
    units.systemd.add("web.service")
    units.systemd.results["web.service"] = "failed"
    code, output, errors = await units("units", "start", "web")
    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert "result 'exit-code', exit status 7" in errors


async def test_links_of_unit_files_are_told(units: Bench) -> None:
    units.systemd.changes = [["symlink", "/etc/x.wants/web.service", "/lib/web.service"]]
    assert (await units("units", "enable", "web"))[1] == "created /etc/x.wants/web.service -> /lib/web.service\n"
    units.systemd.changes = [["unlink", "/etc/x.wants/web.service", ""]]
    assert (await units("units", "disable", "--runtime", "web"))[1] == "removed /etc/x.wants/web.service\n"
    assert ("DisableUnitFiles", [["web.service"], True]) in units.systemd.asked


async def test_a_state_is_waited_for(units: Bench) -> None:
    units.systemd.add("web.service")
    waiting = asyncio.ensure_future(units("units", "wait", "web"))
    await units.systemd.until_asked("GetAll")
    units.systemd.change("web.service", "active", "running")
    assert (await waiting)[0] == 0
    code, _, errors = await units("units", "wait", "--state", "failed", "--timeout", "0.5", "web")
    assert code == 5
    assert "--timeout SECONDS gives it longer" in errors


async def test_failures_are_forgotten_and_unit_files_read(units: Bench) -> None:
    assert await units("units", "reset-failed") == (0, "", "")
    assert await units("units", "daemon-reload") == (0, "", "")
    assert [each for each, _ in units.systemd.asked] == ["ResetFailed", "Reload"]


async def test_help_ends_with_examples(units: Bench) -> None:
    code, output, _ = await units("units", "--help")
    assert code == 0
    assert "virtagent --to web1 units restart nginx" in output.rpartition("Examples:")[2]


@needs_journal
async def test_the_end_of_a_unit_s_log_is_shown(tmp_path: Path) -> None:
    records = [
        {"MESSAGE": f"{unit} {number}", "_SYSTEMD_UNIT": f"{unit}.service", "SYSLOG_IDENTIFIER": unit, "_PID": "7"}
        for number in range(3)
        for unit in ("web", "db")
    ]
    write_journal(tmp_path / "journal" / "a.journal", records)
    url = f"unix:{tmp_path}/guest.sock"
    async with virtagent.listen(url, services=[LogService(journal_arguments=[f"--directory={tmp_path}/journal"])]):
        process = await asyncio.create_subprocess_exec(
            *command_line(url, "units", "logs", "-n", "2", "web"),
            stdout=asyncio.subprocess.PIPE,
            env=environment(tmp_path),
        )
        output, _ = await asyncio.wait_for(process.communicate(), LIMIT)
    assert process.returncode == 0
    assert [line.rpartition(": ")[2] for line in output.decode().splitlines()] == ["web 1", "web 2"]
