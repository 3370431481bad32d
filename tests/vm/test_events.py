"""What happens in a real guest, a whole Debian with systemd and logind, reaches its host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.vm.conftest import MachineFactory, Stopwatch
from tests.vm.harness import Image, Machine
from tests.vm.talk import PATIENCE, PORT, connected, url_of
from virtagent.api.event_kinds import KINDS
from virtagent.api.events import Event
from virtagent.host.events import EventStream, Gap

BURN = "for i in 1 2 3 4; do systemd-run -q -p RuntimeMaxSec=40 sh -c 'while :; do :; done'; done"
LOGIN = "systemd-run --wait -q -p PAMName=login -p User=alice -E XDG_SESSION_CLASS=user -E XDG_SESSION_TYPE=tty sleep 2"
"""A session as that of a terminal: without one, logind takes it for one in the background, such as cron's."""


@pytest.fixture
async def debian(machine_factory: MachineFactory, systemd_image: Image) -> Machine:
    """The Debian guest with pressure stall information, which Debian's kernel has turned off."""
    return await machine_factory(image=systemd_image, ports=(PORT,), memory=512, smp=2, kernel_arguments=("psi=1",))


@asynccontextmanager
async def events_of(machine: Machine, *kinds: str) -> AsyncIterator[EventStream]:
    async with connected(url_of(machine, PORT)) as line, line.guest.events(*kinds) as events:
        yield events


async def following(events: EventStream, kind: str, **fields: Any) -> Event:
    """The next event of a kind with these fields."""
    seen = []
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                event = await anext(events)
                seen.append(event)
                assert event.fields.keys() <= KINDS[event.kind].fields.keys()
                if event.kind == kind and fields.items() <= event.fields.items():
                    return event
    except TimeoutError:
        raise AssertionError(f"no {kind} {fields}; only {seen}") from None


async def test_all_sources_work_on_a_debian(debian: Machine) -> None:
    async with events_of(debian) as events:
        assert events.unavailable == {}
        assert events.unmatched == ()


async def test_users_units_mounts_links_and_devices_are_told_as_they_change(
    debian: Machine, stopwatch: Stopwatch
) -> None:
    async with events_of(debian, "user.*", "unit.*", "mount.*", "link.*", "address.*", "device.*") as events:
        with stopwatch("mount to event at the host"):
            await debian.shell("mount -t tmpfs hello /mnt")
            await following(events, "mount.added", mountpoint="/mnt", type="tmpfs", source="hello")
        await debian.shell("umount /mnt")
        await following(events, "mount.removed", mountpoint="/mnt")

        await debian.shell("ip address add 192.0.2.7/24 dev lo && ip link set lo mtu 4000")
        await following(events, "address.added", address="192.0.2.7", prefix=24, interface="lo", family="ipv4")
        await following(events, "link.changed", interface="lo", mtu=4000)

        await debian.shell("systemd-run --unit=doomed sh -c 'exit 7'")
        failed = await following(events, "unit.failed", unit="doomed.service")
        assert failed.fields["result"] == "exit-code"

        await debian.shell(LOGIN, PATIENCE)
        login = await following(events, "user.login", user="alice")
        logout = await following(events, "user.logout", user="alice")
        assert login.fields["session"] == logout.fields["session"]
        assert login.fields["service"] == "login"

        await debian.execute("device_add", driver="virtio-rng-pci", id="plugged")
        added = await following(events, "device.added", subsystem="virtio")
        assert added.fields["path"].startswith("/devices/pci")
        await debian.execute("device_del", id="plugged")
        await following(events, "device.removed", subsystem="virtio")


async def test_a_process_that_the_kernel_kills_for_memory_is_told(debian: Machine) -> None:
    async with events_of(debian, "memory.*", "unit.failed") as events:
        limits = "-p MemoryMax=30M -p MemorySwapMax=0"
        await debian.shell(f"systemd-run --unit=greedy {limits} /usr/bin/python3 -c 'bytearray(200 << 20)'")
        killed = await following(events, "memory.oom_kill", process="python3")
        assert killed.fields["constraint"] == "memcg"
        assert killed.fields["cgroup"].endswith("/greedy.service")
        assert killed.fields["uid"] == 0
        assert killed.fields["rss"] > 10 << 20
        failed = await following(events, "unit.failed", unit="greedy.service")
        assert failed.fields["result"] == "oom-kill"


async def test_pressure_beyond_the_threshold_is_told(debian: Machine) -> None:
    async with events_of(debian, "pressure.*") as events:
        await debian.shell(BURN)
        pressure = await following(events, "pressure.cpu")
        assert pressure.fields["kind"] == "some"
        assert pressure.fields["total"] >= pressure.fields["stall"]


async def test_what_happened_while_the_host_was_away_is_told_when_it_comes_back(debian: Machine) -> None:
    async with events_of(debian, "mount.*") as events:
        await debian.shell("mount -t tmpfs first /mnt")
        first = await following(events, "mount.added", source="first")
    await debian.shell("umount /mnt && mount -t tmpfs second /mnt")
    async with (
        connected(url_of(debian, PORT)) as line,
        line.guest.events("mount.*", after=first.number, run=events.run) as again,
    ):
        await following(again, "mount.removed", source="first")
        await following(again, "mount.added", source="second")


async def test_an_agent_that_was_started_anew_is_a_gap(debian: Machine) -> None:
    async with events_of(debian, "agent.*") as events:
        await debian.shell("systemctl restart virtagentd.service")
        await following(events, "agent.down", reason="stop")
        gap = await following(events, "events.gap")
        assert isinstance(gap, Gap)
        assert (gap.reason, gap.missed) == ("restarted", None)
        await following(events, "agent.up", reason="restart")


@pytest.mark.parametrize(("verb", "kind", "reason"), [("poweroff", "power.shutdown", "shutdown"), ("reboot",) * 3])
async def test_the_host_knows_of_a_shutdown_before_the_machine_goes(
    debian: Machine, verb: str, kind: str, reason: str
) -> None:
    kind = kind if "." in kind else f"power.{kind}"
    async with connected(url_of(debian, PORT)) as line:
        async with line.guest.events("power.*", "agent.*") as events:
            await debian.shell(f"systemctl {verb} --no-block")
            stopping = await following(events, "power.stopping")
            assert stopping.fields == {}  # this logind does not say which
            assert (await following(events, kind)).fields == {"unit": f"{verb}.target"}
            await following(events, "agent.down", reason=reason)
        if verb == "poweroff":
            assert await debian.exited(PATIENCE) == 0


async def test_a_sleep_is_told_before_it_begins_and_when_it_is_over(debian: Machine) -> None:
    if "mem" not in (await debian.shell("cat /sys/power/state")).split():
        pytest.skip("this kernel cannot suspend to memory here")
    async with events_of(debian, "power.*") as events:
        await debian.shell("systemctl suspend --no-block")
        await following(events, "power.suspend")
        async with asyncio.timeout(PATIENCE):
            while (await debian.execute("query-status"))["status"] != "suspended":
                await asyncio.sleep(0.05)
        await debian.execute("system_wakeup")
        resumed = await following(events, "power.resume")
        assert resumed.fields["slept"] >= 0


async def test_host_and_a_program_in_the_guest_share_keys(debian: Machine) -> None:
    async with connected(url_of(debian, PORT)) as line:
        changes = line.guest.kv.watch("web/")
        async with asyncio.timeout(PATIENCE):
            assert (await anext(changes)).kind == "ready"
            program = (
                "import asyncio, virtagent\n"
                "async def main():\n"
                "    async with virtagent.connect('unix:/run/virtagent/agent.sock') as agent:\n"
                "        await agent.kv.set('web/state', b'ready')\n"
                "asyncio.run(main())\n"
            )
            await debian.shell(f'PYTHONPATH=/usr/lib/virtagent python3 -c "{program}"')
            change = await anext(changes)
            assert (change.kind, change.key, change.value) == ("set", "web/state", b"ready")
            await changes.aclose()  # type: ignore[attr-defined]
            assert (await debian.shell("stat -c '%a %U' /var/lib/virtagent/kv.journal")).strip() == "600 root"
            await debian.shell("systemctl kill -s KILL virtagentd.service")
            await line.next_session()
            assert (await line.guest.kv.get("web/state")).value == b"ready"
