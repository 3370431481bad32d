"""What can be changed of a whole machine: its clock, its name, its processors and memory, its network."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from tests.vm.conftest import MachineFactory, Stopwatch
from tests.vm.harness import Image, Machine
from tests.vm.talk import PORT, UART, connected, url_of
from virtagent.api.hardware import Switch
from virtagent.errors import InvalidArgument, NotFound

HOUR = 3600 * 10**9
ALLOWED = 2 * 10**9
"""Nanoseconds by which a test allows a clock to differ: an emulated machine may be slow, and stops for snapshots."""


LOGIN = "systemd-run -q -p PAMName=login -p User=alice -E XDG_SESSION_CLASS=user -E XDG_SESSION_TYPE=tty sleep 600"
"""A session as login(1) opens it: PAM registers it with logind. Without a class it would be one in the background."""


async def clock_of(machine: Machine) -> float:
    """The guest's clock as its own shell tells it, in seconds."""
    return float(await machine.shell("date +%s"))


# -- clocks ------------------------------------------------------------------------------------------------------------


async def test_a_clock_that_is_wrong_is_measured_and_set_and_so_is_the_hardware_clock(
    systemd_guest: Machine, stopwatch: Stopwatch
) -> None:
    # From this machine's clock: that of a restored guest is as late as its snapshot is old.
    await systemd_guest.shell(f"date -s @{int(time.time()) + 3600}")
    async with connected(url_of(systemd_guest, PORT)) as line:
        wrong = await line.guest.system.drift()
        assert abs(wrong.offset - HOUR) < 60 * 10**9
        assert wrong.is_significant
        with stopwatch("clock measured and set"):
            done = await line.guest.system.synchronize()
        assert done.change is not None
        assert abs(done.change.after - done.change.before + wrong.offset) < ALLOWED
        assert done.change.rtc in ("written", "absent")
        assert done.after is not None
        assert abs(done.after.offset) < ALLOWED
        state = await line.guest.system.clock()
    assert abs(await clock_of(systemd_guest) - time.time()) < 5
    if done.change.rtc == "written":
        assert state.rtc is not None
        assert abs(state.rtc - state.realtime) < 2 * ALLOWED
        shown = float((await systemd_guest.shell("cat /sys/class/rtc/rtc0/since_epoch")).strip())
        assert abs(shown - time.time()) < 10


async def test_a_clock_is_set_to_a_moment_and_to_the_hardware_clocks(systemd_guest: Machine) -> None:
    moment = 1_900_000_000 * 10**9
    async with connected(url_of(systemd_guest, PORT)) as line:
        told = await line.guest.system.set_clock(moment, rtc=False)
        assert (told.rtc, abs(told.after - moment) < ALLOWED) == ("not asked", True)
        assert abs(await clock_of(systemd_guest) - 1_900_000_000) < 60
        if not await systemd_guest.shell("ls /dev/rtc0 2>/dev/null || true"):
            with pytest.raises(NotFound, match="hardware clock"):
                await line.guest.system.set_clock()
        else:
            await line.guest.system.set_clock()
            assert abs(await clock_of(systemd_guest) - time.time()) < 60
        with pytest.raises(InvalidArgument):
            await line.guest.system.adjust_clock(-(2**62))


async def test_a_clock_is_slewed_without_a_step(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        told = await line.guest.system.slew_clock(-(10**9))
        assert -(10**9) <= told.slewing < -(10**8)
        assert abs(told.after - told.before) < ALLOWED
        state = await line.guest.system.clock()
        assert state.slewing is not None
        assert state.slewing < -(10**8)
        await line.guest.system.slew_clock(0)
        assert (await line.guest.system.clock()).slewing == 0


# -- the system --------------------------------------------------------------------------------------------------------


async def test_a_host_name_is_set_for_now_and_for_the_next_boot(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        told = await line.guest.system.set_hostname("web-7")
        assert (told.name, told.static) == ("web-7", "web-7")
        assert (await systemd_guest.shell("hostname; cat /etc/hostname")).split() == ["web-7", "web-7"]
        assert (await line.guest.system.info()).hostname == "web-7"
        await line.guest.system.set_hostname("for-now", persist=False)
        assert (await line.guest.system.hostname()).static == "web-7"


async def test_users_who_are_logged_in_are_told_by_logind(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        assert "alice" not in [each.user for each in await line.guest.system.users()]
        await systemd_guest.shell(LOGIN)
        opened = False
        async with asyncio.timeout(60):
            while not opened:
                users = await line.guest.system.users()
                opened = any(each.user == "alice" for each in users)
        (session,) = [each for each in users if each.user == "alice"]
        sessions = await systemd_guest.shell("loginctl list-sessions --no-legend")
        assert session.session in sessions.split()
        assert session.since is not None
        assert session.pid
        assert session.kind == "tty"


async def test_entropy_is_mixed_in(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        assert (await line.guest.system.add_entropy(os.urandom(64))).credited == 512


# -- hardware ----------------------------------------------------------------------------------------------------------


async def test_a_processor_is_switched_off_and_on(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        hardware = line.guest.hardware
        assert [(each.number, each.online) for each in await hardware.vcpus()] == [(0, True), (1, True)]
        (told,) = await hardware.set_vcpus([Switch(number=1, online=False)])
        assert told.result == "done"
        assert (await systemd_guest.shell("nproc; cat /sys/devices/system/cpu/online")).split() == ["1", "0"]
        assert (await line.guest.system.info()).cpus == 1
        sample = await line.guest.stats.sample(groups=["cpu"], over=0.1)
        assert list(sample.cpus) == ["0"]
        again, unknown = await hardware.set_vcpus([Switch(number=1, online=True), Switch(number=9, online=True)])
        assert (again.result, unknown.result) == ("done", "not-found")
        assert (await systemd_guest.shell("nproc")).strip() == "2"


async def test_memory_is_switched_off_and_on(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        hardware = line.guest.hardware
        memory = await hardware.memory_blocks()
        assert memory.size * len(memory.blocks) >= 512 << 20
        shown = (await systemd_guest.shell("cat /sys/devices/system/memory/memory*/state")).split()
        assert [each.online for each in memory.blocks] == [True] * len(shown)
        # which block can be emptied depends on what the kernel has put there: one of them must be
        results = []
        for block in reversed(memory.blocks):
            results += await hardware.set_memory_blocks([Switch(number=block.number, online=False)])
            if results[-1].result == "done":
                break
        done, failed = results[-1], results[:-1]
        assert done.result == "done", results
        assert all(each.result in ("failed", "not-supported") and each.errno and each.error for each in failed)
        state = await systemd_guest.shell(f"cat /sys/devices/system/memory/memory{done.number}/state")
        assert state.strip() == "offline"
        offline = [each.number for each in (await hardware.memory_blocks()).blocks if not each.online]
        assert offline == [done.number]
        back, same, unknown = await hardware.set_memory_blocks(
            [Switch(number=number, online=True) for number in (done.number, done.number, 99_999)]
        )
        assert [back.result, same.result, unknown.result] == ["done", "unchanged", "not-found"]
        assert all(each.online for each in (await hardware.memory_blocks()).blocks)


async def test_pci_devices_are_those_of_the_machine(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        found = await line.guest.hardware.pci()
    assert [each.address for each in found] == (await systemd_guest.shell("ls /sys/bus/pci/devices")).split()
    assert "virtio-pci" in [each.driver for each in found]


# -- network -----------------------------------------------------------------------------------------------------------


async def test_the_network_of_a_machine_is_configured(systemd_guest: Machine) -> None:
    await systemd_guest.shell("modprobe dummy numdummies=0; ip link add lan0 type dummy")
    async with connected(url_of(systemd_guest, PORT)) as line:
        network = line.guest.network
        await network.set_interface("lan0", up=True, mtu=1400)
        interface = await network.add_address("lan0", "192.0.2.7/24")
        assert (interface.kind, interface.up, interface.mtu) == ("dummy", True, 1400)
        await network.add_route("default", gateway="192.0.2.1")
        assert "default via 192.0.2.1 dev lan0" in await systemd_guest.shell("ip route")
        await network.remove_route("default")
        await network.remove_address("lan0", "192.0.2.7/24")
        assert await systemd_guest.shell("ip -4 addr show lan0; ip route") == ""


# -- statistics --------------------------------------------------------------------------------------------------------


async def test_a_slow_line_carries_changes_only(
    machine_factory: MachineFactory, agent_image: Image, stopwatch: Stopwatch
) -> None:
    agent = f"python3 -m virtagent.cli.daemon --channel serial:/dev/{UART}?baud=115200"
    guest = await machine_factory(image=agent_image, ports=(PORT,), agent=agent)
    async with connected(f"unix:{guest.socket(UART)}?chardev=serial") as line:
        numbers = []
        with stopwatch("five samples of everything over a UART, changes only"):
            async for sample in line.guest.stats.follow(interval=0.25, changes_only=True):
                numbers.append(sample.number)
                assert sample.memory is not None
                assert sample.cpu is not None
                if len(numbers) == 5:
                    break
    assert numbers == sorted(set(numbers))
