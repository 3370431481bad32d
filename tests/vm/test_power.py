"""Real guests that shut down, reboot, halt and sleep, and what their hosts hear of it."""

from __future__ import annotations

import asyncio

import pytest

from tests.vm.conftest import Stopwatch
from tests.vm.harness import Machine
from tests.vm.talk import PATIENCE, PORT, connected, url_of
from virtagent import AlreadyExists, DeadlineExceeded, FailedPrecondition, PeerGone


async def test_a_debian_guest_shuts_down_and_the_host_knows_when_it_is_off(
    systemd_guest: Machine, stopwatch: Stopwatch
) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        with stopwatch("Debian: shutdown until the channel has closed"):
            done = await line.guest.power.shutdown_and_wait(reason="disk full", timeout=PATIENCE)
        assert (done.how, done.reason) == ("closed", "shutdown")
        down = await asyncio.wait_for(line.events.downs.get(), PATIENCE)
        assert (down.reason, down.message) == ("shutdown", "the guest shuts down: disk full")
    assert await systemd_guest.exited() == 0


async def test_a_debian_guest_reboots_and_is_back_in_another_boot(systemd_guest: Machine, stopwatch: Stopwatch) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        before = (await line.guest.system.info()).boot_id
        with stopwatch("Debian: reboot until the agent is up again"):
            done = await line.guest.power.reboot_and_wait(timeout=3 * PATIENCE)
        assert (done.how, done.reason) == ("rebooted", "reboot")
        assert done.boot_id == (await line.guest.system.info()).boot_id != before


async def test_a_planned_shutdown_is_logind_s_and_is_called_off_from_either_side(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        power = line.guest.power
        assert await power.pending() is None
        planned = await power.shutdown(delay=3600, message="Maintenance", reason="kernel update")
        assert (planned.action, planned.by) == ("shutdown", "systemd")
        scheduled = await systemd_guest.shell("cat /run/systemd/shutdown/scheduled")
        assert "MODE=poweroff" in scheduled
        assert planned.at is not None
        usec = int(next(each for each in scheduled.splitlines() if each.startswith("USEC="))[5:])
        assert abs(usec / 1e6 - planned.at.timestamp()) < 0.01
        found = await power.pending()
        assert found is not None
        assert (found.action, found.reason, found.message) == ("shutdown", "kernel update", "Maintenance")
        with pytest.raises(AlreadyExists, match="cancel it first"):
            await power.reboot(delay=60)
        called_off = await power.cancel()
        assert called_off is not None
        assert called_off.reason == "kernel update"
        assert await power.cancel() is None
        await systemd_guest.shell("test ! -e /run/systemd/shutdown/scheduled")
        await systemd_guest.shell("shutdown -r +30 2>/dev/null")
        theirs = await power.pending()
        assert theirs is not None
        assert (theirs.action, theirs.by) == ("reboot", "systemd")
        await systemd_guest.shell("shutdown -c 2>/dev/null")
        assert await power.pending() is None


async def test_a_planned_shutdown_comes_when_it_is_due(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        done = await line.guest.power.shutdown_and_wait(delay=2, timeout=PATIENCE)
        assert (done.how, done.reason) == ("closed", "shutdown")
        assert done.seconds >= 2
    assert await systemd_guest.exited() == 0


async def test_a_guest_of_another_init_shuts_down_with_its_tools(guest: Machine, stopwatch: Stopwatch) -> None:
    async with connected(url_of(guest, PORT)) as line:
        abilities = await line.guest.power.abilities()
        assert (abilities.manager, abilities.shutdown, abilities.force) == ("shutdown", True, True)
        with stopwatch("busybox: shutdown until the channel has closed"):
            done = await line.guest.power.shutdown_and_wait(reason="over", timeout=PATIENCE)
        assert (done.how, done.reason) == ("closed", "shutdown")
        down = await asyncio.wait_for(line.events.downs.get(), PATIENCE)
        assert down.message == "the guest shuts down: over"
    assert await guest.exited() == 0


async def test_a_guest_of_another_init_reboots(guest: Machine) -> None:
    async with connected(url_of(guest, PORT)) as line:
        done = await line.guest.power.reboot_and_wait(timeout=2 * PATIENCE)
        assert (done.how, done.reason) == ("rebooted", "reboot")


async def test_a_timer_of_the_agent_is_called_off(guest: Machine) -> None:
    async with connected(url_of(guest, PORT)) as line:
        planned = await line.guest.power.reboot(delay=3600)
        assert planned.by == "agent"
        assert await line.guest.power.pending() == planned
        assert await line.guest.power.cancel() == planned
        assert await line.guest.power.pending() is None


async def test_a_forced_reboot_says_goodbye_and_does_not_wait_for_anything(guest: Machine) -> None:
    async with connected(url_of(guest, PORT)) as line:
        await guest.control("import subprocess; subprocess.Popen(['sh', '-c', 'trap \"\" TERM; sleep 1000']); None")
        before = len(guest.console())
        done = await line.guest.power.reboot_and_wait(force=True, timeout=2 * PATIENCE)
        assert (done.how, done.reason) == ("rebooted", "reboot")
        assert "harness: reboot" not in guest.console()[before:]  # what init says when it is asked
        assert (await asyncio.wait_for(line.events.downs.get(), PATIENCE)).reason == "reboot"


async def test_a_forced_shutdown_switches_off(guest: Machine) -> None:
    async with connected(url_of(guest, PORT)) as line:
        done = await line.guest.power.shutdown_and_wait(force=True, timeout=PATIENCE)
        assert done.how == "closed"
    assert await guest.exited() == 0


async def test_a_halted_guest_has_said_goodbye_and_keeps_its_channel(guest: Machine) -> None:
    async with connected(url_of(guest, PORT)) as line:
        held = await line.begin("probe.hold", "in flight")
        assert (await line.guest.power.halt()).action == "halt"
        with pytest.raises(PeerGone) as gone:
            await asyncio.wait_for(held, PATIENCE)
        assert gone.value.reason == "shutdown"
        with pytest.raises(DeadlineExceeded, match="not gone within 1 s"):
            await line.guest.power.shutdown_and_wait(timeout=1)


async def test_the_answer_is_there_before_the_machine_goes(guest: Machine) -> None:
    async with connected(url_of(guest, PORT)) as line:
        for _ in range(3):
            planned = await line.guest.power.reboot(force=True)
            assert (planned.action, planned.by, planned.forced) == ("reboot", "kernel", True)
            await line.next_session(2 * PATIENCE)


async def test_a_guest_without_systemd_sleeps_and_its_host_hears_of_it(guest: Machine, stopwatch: Stopwatch) -> None:
    await sleeps(guest, "kernel", stopwatch)


async def test_a_debian_guest_sleeps_and_its_host_hears_of_it(systemd_guest: Machine, stopwatch: Stopwatch) -> None:
    await sleeps(systemd_guest, "systemd", stopwatch)


async def sleeps(machine: Machine, by: str, stopwatch: Stopwatch) -> None:
    """To memory, and awake again."""
    async with connected(url_of(machine, PORT)) as line:
        abilities = await line.guest.power.abilities()
        assert "mem" in abilities.states
        assert abilities.suspend
        while not line.events.ups.empty():
            line.events.ups.get_nowait()
        told = await line.guest.power.suspend()
        assert told.by == by
        assert (await asyncio.wait_for(line.events.downs.get(), PATIENCE)).reason == "suspend"
        await asyncio.wait_for(machine.qmp.event("SUSPEND"), PATIENCE)
        with stopwatch(f"{by}: from the wake-up until the host is told"):
            await machine.execute("system_wakeup")
            async with asyncio.timeout(PATIENCE):
                while (await line.events.ups.get()).reason != "resume":
                    pass
        assert (await line.guest.agent.ping()).pid


async def test_a_guest_with_frozen_filesystems_does_not_sleep(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line, line.guest.storage.freeze(["/"]):
        with pytest.raises(FailedPrecondition, match="are frozen"):
            await line.guest.power.suspend()
