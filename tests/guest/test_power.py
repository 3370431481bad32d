"""Power, with managers and sleepers that only write down what they were asked; tests/vm/test_power.py has real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import virtagent
from virtagent.api.agent import AgentEvents, Down, Up
from virtagent.api.power import Planned, PowerAction, SleepAction
from virtagent.errors import AlreadyExists, FailedPrecondition, InvalidArgument, Unavailable
from virtagent.guest.down_reason import down_message, down_reason, write_down_reason
from virtagent.guest.power import PowerService
from virtagent.guest.power_manager import Manager, find_manager, run_tool
from virtagent.guest.power_schedule import LogindSchedule
from virtagent.guest.power_sleep import SleepAbility, Sleeper
from virtagent.guest.resources import Resources
from virtagent.service.options import method

LIMIT = 30.0


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime directory of our own: nothing here may say of this machine that it goes down."""
    made = tmp_path / "runtime"
    made.mkdir()
    monkeypatch.setenv("VIRTAGENT_RUNTIME_DIR", str(made))
    return made


class RecordingManager(Manager):
    """Shuts nothing down."""

    def __init__(self, error: str = "") -> None:
        super().__init__("recording", {"shutdown": ["/bin/false"], "reboot": ["/bin/false"], "halt": ["/bin/false"]})
        self.begun: asyncio.Queue[tuple[PowerAction, str]] = asyncio.Queue()
        self._error = error

    async def begin(self, action: PowerAction, message: str) -> str:
        self.begun.put_nowait((action, message))
        return self._error


class RecordingSleeper(Sleeper):
    """Puts nothing to sleep."""

    def __init__(self, root: Path, error: str = "") -> None:
        super().__init__(root)
        self.asleep: asyncio.Queue[tuple[SleepAction, str]] = asyncio.Queue()
        self.wake = asyncio.Event()
        self.error = error

    async def ability(self, action: SleepAction) -> SleepAbility:
        return SleepAbility("kernel") if action == "suspend" else SleepAbility("", "it has no swap")

    async def sleep(self, action: SleepAction, by: str) -> str:
        self.asleep.put_nowait((action, by))
        await self.wake.wait()
        return self.error


class MemorySchedule(LogindSchedule):
    """logind's plan, in memory."""

    def __init__(self, root: Path, *, there: bool) -> None:
        super().__init__(root)
        self._there = there
        self.planned: Planned | None = None

    @property
    def is_there(self) -> bool:
        return self._there

    async def plan(self, action: PowerAction, at: datetime, message: str) -> None:
        self.planned = Planned(action=action, at=at, message=message, by="systemd")

    async def pending(self) -> Planned | None:
        return self.planned

    async def cancel(self) -> bool:
        found, self.planned = self.planned, None
        return found is not None


class Machine:
    """A power service, and what became of it."""

    def __init__(self, root: Path, *, logind: bool = False, manager: bool = True, error: str = "") -> None:
        self.resources = Resources()
        self.manager = RecordingManager(error)
        self.schedule = MemorySchedule(root, there=logind)
        self.sleeper = RecordingSleeper(root)
        self.forced: asyncio.Queue[PowerAction] = asyncio.Queue()
        self.service = PowerService(
            self.resources,
            manager=lambda: self.manager if manager else None,
            schedule=self.schedule,
            sleeper=self.sleeper,
            force=self.forced.put_nowait,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def soon(waiting: Any) -> Any:
    async with asyncio.timeout(LIMIT):
        return await waiting


async def test_a_shutdown_is_answered_then_begun_with_its_reason_for_the_hosts(machine: Machine, runtime: Path) -> None:
    planned = await machine.service.shutdown(reason="kernel update", message="Save your work")
    assert machine.manager.begun.empty()  # the answer goes first
    assert planned == Planned(action="shutdown", reason="kernel update", message="Save your work", by="recording")
    assert await soon(machine.manager.begun.get()) == ("shutdown", "Save your work")
    assert (runtime / "down-reason").read_text() == "shutdown\nthe guest shuts down: kernel update\n"
    assert down_reason() == "shutdown"
    assert down_message() == "the guest shuts down: kernel update"


@pytest.mark.parametrize(("action", "word"), [("reboot", "reboot"), ("halt", "shutdown")])
async def test_hosts_are_told_the_word_for_what_is_done(action: str, word: str, machine: Machine) -> None:
    await getattr(machine.service, action)()
    assert (await soon(machine.manager.begun.get()))[0] == action
    assert down_reason() == word


async def test_a_machine_that_goes_is_not_asked_twice(machine: Machine) -> None:
    await machine.service.shutdown()
    with pytest.raises(FailedPrecondition, match="about to shutdown already"):
        await machine.service.reboot()
    with pytest.raises(FailedPrecondition, match="about to shutdown already"):
        await machine.service.suspend()
    await soon(machine.manager.begun.get())


async def test_a_tool_that_fails_is_told_and_the_reason_is_taken_back(tmp_path: Path, runtime: Path) -> None:
    machine = Machine(tmp_path, error="no such runlevel")
    before = machine.resources.events.last
    await machine.service.shutdown()
    await soon(machine.manager.begun.get())
    async with asyncio.timeout(LIMIT):
        while machine.resources.events.last == before:
            await asyncio.sleep(0.01)
    assert not (runtime / "down-reason").exists()
    await machine.service.reboot()  # it may be asked again


async def test_without_a_tool_only_force_works(tmp_path: Path) -> None:
    machine = Machine(tmp_path, manager=False)
    with pytest.raises(FailedPrecondition, match="force=true"):
        await machine.service.shutdown()
    abilities = await machine.service.abilities()
    assert (abilities.shutdown, abilities.manager) == (False, "")
    assert "shutdown" in abilities.reasons
    if abilities.force:
        planned = await machine.service.shutdown(force=True)
        assert (planned.by, planned.forced) == ("kernel", True)
        assert await soon(machine.forced.get()) == "shutdown"


async def test_a_timer_of_the_agent_is_told_called_off_and_comes_when_due(machine: Machine) -> None:
    service = machine.service
    planned = await service.reboot(delay=1000, reason="later")
    assert planned.by == "agent"
    assert planned.at is not None
    assert timedelta(seconds=900) < planned.at - datetime.now(UTC) < timedelta(seconds=1001)
    assert await service.pending() == planned
    with pytest.raises(AlreadyExists):
        await service.shutdown(delay=5)
    assert await service.cancel() == planned
    assert await service.pending() is None
    assert await service.cancel() is None
    await service.reboot(delay=0.05)
    assert (await soon(machine.manager.begun.get()))[0] == "reboot"


async def test_a_timer_ends_with_the_agent(machine: Machine) -> None:
    await machine.service.reboot(delay=1000)
    await machine.resources.stop("stop", "")
    assert await machine.service.pending() is None


async def test_where_logind_is_the_plan_is_its_own_and_others_plans_are_seen(tmp_path: Path) -> None:
    machine = Machine(tmp_path, logind=True)
    service = machine.service
    planned = await service.shutdown(delay=1000, reason="kernel update")
    assert planned.by == "systemd"
    assert machine.schedule.planned is not None
    assert machine.schedule.planned.message == "kernel update"
    found = await service.pending()
    assert found is not None
    assert found.reason == "kernel update"
    assert (await service.cancel()) is not None
    machine.schedule.planned = Planned(action="reboot", at=datetime.now(UTC), by="systemd")
    assert await service.pending() == machine.schedule.planned
    assert (await service.cancel()) is not None
    assert machine.schedule.planned is None


async def test_sleep_that_cannot_be_says_why_and_frozen_filesystems_forbid_it(machine: Machine) -> None:
    with pytest.raises(FailedPrecondition, match="cannot hibernate: it has no swap"):
        await machine.service.hibernate()
    machine.resources.frozen.add(77, "/srv")
    with pytest.raises(FailedPrecondition, match="frozen"):
        await machine.service.suspend()


# -- with a host -----------------------------------------------------------------------------------------------------


class Heard(AgentEvents):
    """What a host was told."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[Down | Up] = asyncio.Queue()

    @method(inline=True)
    def down(self, event: Down) -> None:
        self.told.put_nowait(event)

    @method(inline=True)
    def up(self, event: Up) -> None:
        self.told.put_nowait(event)


@asynccontextmanager
async def with_host(machine: Machine, folder: Path) -> AsyncIterator[tuple[virtagent.Guest, Heard]]:
    """A host that is connected to the service."""
    url, heard = f"unix:{folder}/guest.sock", Heard()
    async with asyncio.timeout(LIMIT), virtagent.listen(url, services=[machine.service]) as listening:
        machine.resources.channels = [listening]
        async with virtagent.connect(url, services=[heard]) as guest:
            yield guest, heard


async def test_a_host_hears_that_the_guest_sleeps_and_that_it_is_awake(machine: Machine, tmp_path: Path) -> None:
    async with with_host(machine, tmp_path) as (guest, heard):
        assert (await guest.power.suspend()).action == "suspend"
        down = await heard.told.get()
        assert isinstance(down, Down)
        assert down.reason == "suspend"
        assert await machine.sleeper.asleep.get() == ("suspend", "kernel")
        machine.sleeper.wake.set()
        up = await heard.told.get()
        assert isinstance(up, Up)
        assert up.reason == "resume"


async def test_a_forced_end_is_told_before_and_comes_with_a_goodbye(machine: Machine, tmp_path: Path) -> None:
    async with with_host(machine, tmp_path) as (guest, heard):
        if not (await guest.power.abilities()).force:
            pytest.skip("needs CAP_SYS_BOOT")
        done = await guest.power.reboot(force=True, reason="it hangs")
        assert done.forced
        down = await heard.told.get()
        assert down == Down(reason="reboot", message="the guest reboots: it hangs")
        assert await machine.forced.get() == "reboot"
        assert guest.state is virtagent.PeerState.GONE


@pytest.mark.parametrize(
    "arguments", [{"delay": -1}, {"delay": 1e9}, {"reason": "two\nlines"}, {"message": "x" * 2000}]
)
async def test_arguments_have_bounds(arguments: dict[str, Any], machine: Machine, tmp_path: Path) -> None:
    async with with_host(machine, tmp_path) as (guest, _):
        with pytest.raises(InvalidArgument):
            await guest.call("power.shutdown", **arguments)
    assert machine.manager.begun.empty()


# -- what this machine has -------------------------------------------------------------------------------------------


def tools(folder: Path, *names: str) -> str:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("run", "names", "name", "command"),
    [
        (
            ["systemd/system"],
            ["systemctl", "shutdown"],
            "systemd",
            ["systemctl", "-i", "--no-block", "--no-wall", "reboot"],
        ),
        (["openrc"], ["openrc-shutdown", "shutdown"], "openrc-shutdown", ["openrc-shutdown", "--reboot", "now"]),
        ([], ["shutdown", "reboot"], "shutdown", ["shutdown", "-r", "now", "why"]),
        ([], ["poweroff", "reboot", "halt"], "poweroff", ["reboot"]),
    ],
)
def test_the_tool_of_the_init_system_is_found(
    run: list[str], names: list[str], name: str, command: list[str], tmp_path: Path
) -> None:
    for each in run:
        (tmp_path / "run" / each).mkdir(parents=True)
    if "openrc" in run:
        (tmp_path / "run/openrc/softlevel").write_text("default\n")
    found = find_manager(tmp_path, tools(tmp_path / "bin", *names))
    assert found is not None
    assert found.name == name
    assert found.command("reboot", "why") == [str(tmp_path / "bin" / command[0]), *command[1:]]


def test_a_machine_without_any_tool_has_none(tmp_path: Path) -> None:
    assert find_manager(tmp_path, tools(tmp_path / "bin", "reboot")) is None


async def test_a_tool_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    assert await run_tool("/bin/true") == ""
    assert await run_tool("/bin/sh", "-c", "echo one >&2; echo two >&2; exit 3") == "two"
    assert await run_tool("/bin/false") == "/bin/false ended with the exit status 1"
    assert "No such file" in await run_tool("/no/such/tool")
    assert await run_tool("/bin/sh", "-c", "read line; test $line = told", stdin=b"told\n") == ""


def sysfs(root: Path, state: str, disk: str = "", swap: bool = False) -> Sleeper:
    for path, text in (
        ("sys/power/state", state),
        ("sys/power/disk", disk),
        ("proc/swaps", "Filename\n" + "/dev/vda2 partition 1 0 -2\n" * swap),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return Sleeper(root)


async def test_what_the_kernel_offers_decides_what_works(tmp_path: Path) -> None:
    sleeper = sysfs(tmp_path / "a", "freeze mem disk\n", "[platform] shutdown reboot suspend test_resume\n", swap=True)
    actions: tuple[SleepAction, ...] = ("suspend", "hibernate", "hybrid-sleep")
    assert [(await sleeper.ability(each)).by for each in actions] == ["kernel"] * 3
    sleeper = sysfs(tmp_path / "b", "freeze mem disk\n", "[shutdown] reboot\n")
    told = [await sleeper.ability(each) for each in actions]
    assert [each.by for each in told] == ["kernel", "", ""]
    assert "swap" in told[1].reason
    sleeper = sysfs(tmp_path / "c", "disk\n")
    assert "disk only" in (await sleeper.ability("suspend")).reason
    assert "no /sys/power/state" in (await Sleeper(tmp_path / "none").ability("suspend")).reason


async def test_the_deepest_sleep_and_the_right_mode_are_written(tmp_path: Path) -> None:
    def written(name: str) -> str:
        return (tmp_path / "sys/power" / name).read_text()

    sleeper = sysfs(tmp_path, "freeze standby mem disk\n", "[platform] shutdown suspend\n", swap=True)
    assert await sleeper.sleep("suspend", "kernel") == ""
    assert written("state") == "mem"
    sysfs(tmp_path, "mem disk", "[platform] shutdown suspend")
    assert await sleeper.sleep("hybrid-sleep", "kernel") == ""
    assert (written("state"), written("disk")) == ("disk", "suspend")
    sysfs(tmp_path, "mem disk", "[shutdown]")
    await sleeper.sleep("hibernate", "kernel")
    assert (written("state"), written("disk")) == ("disk", "shutdown")


async def test_a_kernel_that_refuses_is_told(tmp_path: Path) -> None:
    sysfs(tmp_path, "mem")
    (tmp_path / "sys/power/state").unlink()
    (tmp_path / "sys/power/state").symlink_to("/dev/full")
    assert "No space left" in await Sleeper(tmp_path).sleep("hibernate", "kernel")


def test_a_reason_is_one_word_and_its_message_one_line(runtime: Path) -> None:
    write_down_reason("reboot", "two\nlines  of text")
    assert (down_reason(), down_message()) == ("reboot", "two lines of text")
    write_down_reason("", "")
    write_down_reason("", "")
    assert down_message() == ""
    (runtime / "down-reason").write_text("suspend\n")
    assert (down_reason(), down_message()) == ("suspend", "")


async def test_a_logind_that_does_not_answer_is_no_plan(tmp_path: Path) -> None:
    pytest.importorskip("dbus_fast")
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    schedule = LogindSchedule(tmp_path, f"unix:path={tmp_path}/none")
    assert schedule.is_there
    with pytest.raises(Unavailable):
        await schedule.pending()
    service = PowerService(manager=RecordingManager, schedule=schedule)
    assert await service.pending() is None
    with pytest.raises(Unavailable):
        await service.shutdown(delay=1000)
