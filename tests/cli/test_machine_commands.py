"""``shutdown``, ``reboot``, ``suspend``, ``freeze``, ``thaw``, ``trim``, ``disks``, ``journal``: as people run them.

The guest is in this process; what would end this machine or stop its disks only writes down that it was asked.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

import virtagent
from tests.cli.programs import LIMIT, command_line, environment
from tests.guest.freeze_fakes import Freezer
from tests.guest.journal_files import needs_journal, write_journal
from tests.guest.test_power import Machine
from virtagent.guest import freezes
from virtagent.guest.configuration import Configuration, StorageSection
from virtagent.guest.log import LogService
from virtagent.guest.resources import Resources
from virtagent.guest.storage import StorageService
from virtagent.guest.system import SystemService


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Guest:
    """A guest whose channel is a socket in this process."""

    def __init__(self, folder: Path, freezer: Freezer) -> None:
        self.folder = folder
        self.url = f"unix:{folder}/guest.sock"
        self.freezer = freezer
        self.machine = Machine(folder)

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start ``virtagent``."""
        return await asyncio.create_subprocess_exec(
            *command_line(self.url, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(self.folder),
        )

    async def run(self, *arguments: str) -> Done:
        """Run ``virtagent`` to its end."""
        return await ended(await self.start(*arguments))


async def ended(process: asyncio.subprocess.Process) -> Done:
    async with asyncio.timeout(LIMIT):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


@pytest.fixture
async def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Guest]:
    monkeypatch.setenv("VIRTAGENT_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "runtime").mkdir()
    freezer = Freezer(tmp_path, monkeypatch)
    monkeypatch.setattr(
        freezes,
        "choose_targets",
        lambda wanted: [freezer.target(os.path.basename(each)) for each in wanted or ("a", "b")],
    )
    made = Guest(tmp_path, freezer)
    storage = StorageService(Resources(Configuration(storage=StorageSection(hooks=()))))
    log = LogService(journal_arguments=[f"--directory={tmp_path}/journal"])
    async with virtagent.listen(made.url, services=[made.machine.service, storage, log, SystemService()]) as listening:
        made.machine.resources.channels = [listening]
        yield made
    keepers = asyncio.all_tasks() - {asyncio.current_task()}
    if keepers:  # they wait for processes that have thawed and are about to end
        await asyncio.wait(keepers, timeout=LIMIT)


# -- freeze ----------------------------------------------------------------------------------------------------------


async def test_a_command_runs_while_all_is_frozen_and_its_exit_code_is_passed_on(guest: Guest) -> None:
    log = guest.freezer.log
    done = await guest.run("freeze", "/a", "/b", "--", "sh", "-c", f"echo command >>{log}; exit 7")
    assert (done.code, done.err) == (7, "")
    frozen, thawed = done.out.splitlines()
    assert frozen == f"frozen: {guest.folder}/a (ext4), {guest.folder}/b (ext4)"
    assert thawed.startswith("thawed after ")
    assert guest.freezer.told() == ["freeze a 0", "freeze b 0", "command", "thaw b 0", "thaw a 0"]


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        (["/no/such/program"], 127, "No such file or directory"),
        (["/etc/passwd"], 126, "Permission denied"),
        (["sh", "-c", "kill -9 $$"], 137, ""),
    ],
)
async def test_a_command_that_cannot_be_run_or_is_killed_has_the_exit_code_of_a_shell(
    command: list[str], code: int, told: str, guest: Guest
) -> None:
    done = await guest.run("freeze", "/a", "--", *command)
    assert done.code == code
    assert told in done.err
    assert guest.freezer.told() == ["freeze a 0", "thaw a 0"]


async def test_a_command_that_takes_too_long_is_ended_and_that_is_an_error(guest: Guest) -> None:
    done = await guest.run("freeze", "/a", "--for", "0.3", "--", "sleep", "1000")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "took longer than 0.3 s" in done.err
    assert guest.freezer.told()[-1] == "thaw a 0"


async def test_without_a_command_it_holds_for_the_time(guest: Guest) -> None:
    done = await guest.run("freeze", "/a", "--for", "100ms", "--json")
    assert (done.code, done.err) == (0, "")
    first, last = (json.loads(line) for line in done.out.splitlines())
    assert (first["ended"], last["ended"]) == ("", "thawed")


async def test_ctrl_c_thaws_and_ends_quietly(guest: Guest) -> None:
    process = await guest.start("freeze", "/a", "--for", "50m")
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT):
        assert (await process.stdout.readline()).startswith(b"frozen: ")
    process.send_signal(signal.SIGINT)
    done = await ended(process)
    assert (done.code, done.err) == (130, "")
    async with asyncio.timeout(LIMIT):
        while guest.freezer.told()[-1] != "thaw a 0":
            await asyncio.sleep(0.01)


async def test_a_killed_program_leaves_nothing_frozen(guest: Guest) -> None:
    process = await guest.start("freeze", "/a", "--for", "50m")
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT):
        await process.stdout.readline()
        process.kill()
        await process.communicate()
        while guest.freezer.told()[-1] != "thaw a 0":
            await asyncio.sleep(0.01)


async def test_thaw_shows_and_ends_what_is_held_and_who_held_it_is_told(guest: Guest) -> None:
    process = await guest.start("freeze", "/a", "--for", "50m")
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT):
        await process.stdout.readline()
    shown = await guest.run("thaw", "--list")
    assert f"{guest.folder}/a; 30" in shown.out
    assert (await guest.run("thaw")).out == f"{guest.folder}/a: thawed\n"
    done = await ended(process)
    assert done.code == 1
    assert "somebody else thawed it" in done.err
    assert (await guest.run("thaw")).out == "nothing was frozen\n"
    assert "no freeze 'nothing'" in (await guest.run("thaw", "--lease", "nothing")).err


# -- disks, trim -----------------------------------------------------------------------------------------------------


async def test_disks_are_two_tables_or_a_line_for_each(guest: Guest) -> None:
    text = (await guest.run("disks")).out
    assert text.startswith("MOUNTPOINT")
    assert "\nDISK" in text
    assert "\x1b" not in text
    told = [json.loads(line) for line in (await guest.run("disks", "--json")).out.splitlines()]
    assert {next(iter(each)) for each in told} <= {"filesystem", "disk"}
    assert "/" in {each["filesystem"]["mountpoint"] for each in told if "filesystem" in each}


async def test_what_cannot_be_trimmed_is_told_and_fails_if_it_was_named(guest: Guest) -> None:
    done = await guest.run("trim", "/proc")
    assert done.code == 1
    assert done.out.startswith("/proc: ")
    assert "nothing is mounted at /nothing" in (await guest.run("trim", "/nothing")).err


# -- power -----------------------------------------------------------------------------------------------------------


async def test_a_shutdown_is_answered_and_begun(guest: Guest) -> None:
    done = await guest.run("shutdown", "--reason", "kernel update", "-m", "Save your work")
    assert (done.code, done.out) == (0, "shutdown now, by recording: kernel update\n")
    async with asyncio.timeout(LIMIT):
        assert await guest.machine.manager.begun.get() == ("shutdown", "Save your work")


async def test_a_plan_is_told_shown_and_called_off(guest: Guest) -> None:
    assert (await guest.run("reboot", "--delay", "1h30m")).out.startswith("reboot at 20")
    assert (await guest.run("shutdown", "--pending")).out.startswith("planned: reboot at 20")
    assert "cancel it first" in (await guest.run("shutdown", "--delay", "5m")).err
    assert (await guest.run("reboot", "--cancel")).out.startswith("called off: reboot at 20")
    assert (await guest.run("reboot", "--cancel")).out == "nothing is planned\n"
    assert json.loads((await guest.run("--json", "reboot", "--pending")).out) is None


async def test_sleep_is_checked_and_asked_for(guest: Guest) -> None:
    assert (await guest.run("suspend", "--check")).out.splitlines() == [
        "suspend: yes",
        "hibernate: no: it has no swap",
        "hybrid sleep: no: it has no swap",
    ]
    assert "cannot hibernate: it has no swap" in (await guest.run("suspend", "--hibernate")).err
    assert (await guest.run("suspend")).out == "the guest goes to sleep: suspend, by kernel\n"
    async with asyncio.timeout(LIMIT):
        assert await guest.machine.sleeper.asleep.get() == ("suspend", "kernel")
    guest.machine.sleeper.wake.set()


# -- journal ---------------------------------------------------------------------------------------------------------


@needs_journal
async def test_the_journal_is_shown_as_journalctl_does(guest: Guest) -> None:
    write_journal(
        guest.folder / "journal" / "a.journal",
        [
            {
                "MESSAGE": f"message {number}\nand \x1b[31mmore",
                "PRIORITY": str(number),
                "SYSLOG_IDENTIFIER": "sshd",
                "_SYSTEMD_UNIT": "ssh.service",
                "_PID": "77",
                "_HOSTNAME": "web1",
            }
            for number in range(5)
        ],
    )
    done = await guest.run("journal", "-u", "ssh", "-p", "warn", "-n", "1")
    assert done.out == "Sep 21 14:13:24 web1 sshd[77]: message 4\n" + " " * 31 + "and \\x1b[31mmore\n"
    told = [json.loads(line) for line in (await guest.run("journal", "--json")).out.splitlines()]
    assert [each["level"] for each in told] == [0, 1, 2, 3, 4]
    after = await guest.run("journal", "--json", "--after", told[2]["cursor"])
    assert [json.loads(line)["level"] for line in after.out.splitlines()] == [3, 4]
    assert (await guest.run("journal", "--until", "2026-09-21 14:13:20")).out.count("sshd") == 1
    assert (await guest.run("journal", "-g", "nothing like it")).out == ""


@needs_journal
async def test_a_followed_journal_goes_on_after_the_guest_was_away(tmp_path: Path) -> None:
    url = f"unix:{tmp_path}/guest.sock"
    write_journal(tmp_path / "journal/a.journal", [{"MESSAGE": "before", "SYSLOG_IDENTIFIER": "x"}])
    arguments = [f"--directory={tmp_path}/journal"]
    process: asyncio.subprocess.Process | None = None
    async with asyncio.timeout(LIMIT):
        for number, message in enumerate(("before", "meanwhile", "after")):
            async with virtagent.listen(url, services=[LogService(journal_arguments=arguments)]):
                if process is None:
                    process = await asyncio.create_subprocess_exec(
                        *command_line(url, "journal", "-f"),
                        stdout=asyncio.subprocess.PIPE,
                        env=environment(tmp_path),
                    )
                assert process.stdout is not None
                assert (await process.stdout.readline()).decode().rstrip().endswith(f"x: {message}")
            following = ("meanwhile", "after", "never")[number]
            await asyncio.to_thread(
                write_journal,
                tmp_path / f"journal/{number}.journal",
                [{"MESSAGE": following, "SYSLOG_IDENTIFIER": "x"}],
                start=number + 1,
            )
        assert process is not None
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["shutdown", "--delay", "soon"], "'soon' is no duration"),
        (["shutdown", "--cancel", "--force"], "--cancel goes alone"),
        (["shutdown", "--halt", "--wait"], "--wait cannot tell"),
        (["suspend", "--hybrid", "--hibernate"], "exclude each other"),
        (["freeze", "--for", "2h"], "up to 3590 seconds"),
        (["trim", "--minimum", "x"], "is no number of bytes"),
        (["journal", "-f", "-r"], "drop --until and --reverse"),
        (["journal", "--since", "then"], "'then' is no moment"),
        (["journal", "-b", "x"], "'x' is no boot"),
        (["journal", "-p", "loud"], "'loud' is no level"),
        (["dmesg", "--since", "then"], "'then' is no moment"),
    ],
)
async def test_a_mistake_is_one_line_that_says_what_to_write(arguments: list[str], told: str, guest: Guest) -> None:
    done = await guest.run(*arguments)
    assert (done.code, done.err.count("\n"), done.out) == (2, 1, "")
    assert told in done.err
