"""The agent as the unit that its package installs, on a whole Debian: starts, stops, is watched and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from tests.vm.conftest import MachineFactory, Stopwatch
from tests.vm.harness import Image, Machine
from tests.vm.talk import PATIENCE, PORT, UART, connected, url_of
from virtagent import PeerState, VirtagentError

UNIT = "virtagentd.service"
DROP_INS = f"/run/systemd/system/{UNIT}.d"
QUICK = {
    "keepalive": "sed -i 's/^.agent.$/[agent]\\nkeepalive = 0.5/' /etc/virtagent/agent.toml",
    "watchdog": f"mkdir -p {DROP_INS} && printf '[Service]\\nWatchdogSec=6s\\n' >{DROP_INS}/test.conf",
}
"""The unit's times as a test can wait for them."""


async def shown(machine: Machine, name: str) -> str:
    """A property of the unit."""
    return (await machine.shell(f"systemctl show -P {name} {UNIT}")).strip()


async def journal_tells(machine: Machine, text: str, unit: str = UNIT) -> None:
    """Wait until the journal has a line of the unit with this text."""
    follow = f"journalctl -f -n all -o cat -u {unit}"
    await machine.shell(f"timeout {PATIENCE:g} bash -c 'grep -q -m 1 -F \"{text}\" <({follow})'", 2 * PATIENCE)


async def test_the_unit_is_up_and_serves_its_port(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        info = await line.guest.system.info()
        up = await asyncio.wait_for(line.events.ups.get(), PATIENCE)
    assert info.os.pretty_name == "Debian GNU/Linux 12 (bookworm)"
    assert up.reason == "boot"
    assert [await shown(systemd_guest, name) for name in ("ActiveState", "Type", "NRestarts")] == [
        "active",
        "notify",
        "0",
    ]
    assert await shown(systemd_guest, "WatchdogUSec") == "30s"
    assert (await systemd_guest.shell("systemctl --failed --no-legend")) == ""
    modes = await systemd_guest.shell("stat -c '%a %U %n' /run/virtagent /var/lib/virtagent /run/virtagent/agent.sock")
    assert modes.splitlines()[:2] == ["755 root /run/virtagent", "700 root /var/lib/virtagent"]


async def test_the_unit_waits_for_its_port_starts_when_it_is_plugged_in_and_stops_when_it_is_pulled(
    machine_factory: MachineFactory, systemd_image: Image, stopwatch: Stopwatch
) -> None:
    machine = await machine_factory(image=replace(systemd_image, served=()), ports=(), memory=512, smp=2)
    assert await shown(machine, "ActiveState") == "inactive"
    assert (await machine.shell("systemctl --failed --no-legend; systemctl list-jobs --no-legend")) == ""
    socket = machine.socket("ttyS1").with_name("plugged.sock")
    listening = {"type": "unix", "data": {"path": str(socket)}}
    await machine.execute(
        "chardev-add",
        id="plugged",
        backend={"type": "socket", "data": {"addr": listening, "server": True, "wait": False}},
    )
    await machine.execute(
        "device_add", driver="virtserialport", bus="vs0.0", nr=9, chardev="plugged", name=PORT, id="plugged-port"
    )
    with stopwatch("port plugged in to first session"):
        async with connected(f"unix:{socket}?chardev=virtio", timeout=PATIENCE) as line:
            up = await asyncio.wait_for(line.events.ups.get(), PATIENCE)
    assert up.reason == "boot"
    assert await shown(machine, "ActiveState") == "active"
    await machine.execute("device_del", id="plugged-port")
    await journal_tells(machine, "Stopped virtagentd.service")
    assert await shown(machine, "ActiveState") == "inactive"


async def test_an_agent_that_hangs_is_silent_then_killed_by_the_watchdog_and_comes_back(
    systemd_guest: Machine, stopwatch: Stopwatch
) -> None:
    await systemd_guest.shell(f"{' && '.join(QUICK.values())} && systemctl daemon-reload && systemctl restart {UNIT}")
    async with connected(url_of(systemd_guest, PORT)) as line:
        before = await systemd_guest.agent_pid()
        await asyncio.wait_for(line.events.ups.get(), PATIENCE)
        with stopwatch("agent stopped (SIGSTOP) to its next session, watchdog of 6 s"):
            await systemd_guest.kill_agent("SIGSTOP")
            await line.reaches(PeerState.SILENT)
            await line.next_session()
        up = await asyncio.wait_for(line.events.ups.get(), PATIENCE)
    assert up.reason == "restart"
    assert await systemd_guest.agent_pid() != before
    await journal_tells(systemd_guest, "Watchdog timeout")
    await journal_tells(systemd_guest, "Fatal Python error: Aborted")
    assert await shown(systemd_guest, "NRestarts") == "1"


async def test_an_agent_that_is_killed_comes_back(systemd_guest: Machine, stopwatch: Stopwatch) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        await asyncio.wait_for(line.events.ups.get(), PATIENCE)
        before = await systemd_guest.agent_pid()
        with stopwatch("agent killed (SIGKILL) to its next session"):
            await systemd_guest.kill_agent("SIGKILL")
            await line.next_session()
        up = await asyncio.wait_for(line.events.ups.get(), PATIENCE)
    assert up.reason == "restart"
    assert await systemd_guest.agent_pid() != before
    assert await shown(systemd_guest, "NRestarts") == "1"


async def test_a_wrong_configuration_is_told_and_not_tried_again(systemd_guest: Machine) -> None:
    await systemd_guest.shell("echo 'channels = 5' >>/etc/virtagent/agent.toml")
    await systemd_guest.shell(f"systemctl restart {UNIT} || true")
    assert [await shown(systemd_guest, name) for name in ("ActiveState", "ExecMainStatus")] == ["failed", "2"]
    await journal_tells(systemd_guest, "/etc/virtagent/agent.toml")


async def powered_off(machine: Machine) -> None:
    await machine.powerdown()


async def rebooted(machine: Machine) -> None:
    machine.tell("import subprocess; subprocess.run(['reboot'])")


async def stopped(machine: Machine) -> None:
    await machine.shell(f"systemctl stop {UNIT}")


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        pytest.param(powered_off, "shutdown", id="power button"),
        pytest.param(rebooted, "reboot", id="reboot"),
        pytest.param(stopped, "stop", id="systemctl stop"),
    ],
)
async def test_the_host_is_told_why_the_agent_goes(
    end: Callable[[Machine], Awaitable[None]], reason: str, systemd_guest: Machine, stopwatch: Stopwatch
) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        await asyncio.wait_for(line.events.ups.get(), PATIENCE)
        with stopwatch(f"told of {reason}"):
            await end(systemd_guest)
            down = await asyncio.wait_for(line.events.downs.get(), PATIENCE)
        assert down.reason == reason
        if reason == "shutdown":
            assert await systemd_guest.exited() == 0
        if reason == "reboot":
            await systemd_guest.booted()
            await line.next_session()
            up = await asyncio.wait_for(line.events.ups.get(), PATIENCE)
            assert up.reason == "boot"
        if reason == "stop":
            assert await shown(systemd_guest, "ActiveState") == "inactive"


async def test_a_serial_line_is_served_by_the_template(systemd_guest: Machine) -> None:
    await systemd_guest.shell("systemctl enable --now virtagentd@ttyS1.service", PATIENCE)
    async with (
        connected(url_of(systemd_guest, UART, told=True)) as uart,
        connected(url_of(systemd_guest, PORT, told=True)) as virtio,
    ):
        assert (await uart.guest.system.info()).boot_id == (await virtio.guest.system.info()).boot_id
    await systemd_guest.shell("systemctl disable --now virtagentd@ttyS1.service", PATIENCE)


async def test_an_observing_agent_is_held_by_the_kernel_whatever_its_policy(systemd_guest: Machine) -> None:
    drop_in = "/usr/share/doc/virtagent/examples/virtagentd-observe.conf"
    await systemd_guest.shell(f"mkdir -p {DROP_INS} && cp {drop_in} {DROP_INS}/observe.conf")
    await systemd_guest.shell(f"systemctl daemon-reload && systemctl restart {UNIT}", PATIENCE)
    async with connected(url_of(systemd_guest, PORT)) as line:
        assert (await line.guest.system.info()).hostname == "guest"
        assert [record async for record in line.guest.log.kernel()]
        with pytest.raises(VirtagentError, match="Read-only file system"):
            await line.guest.call("files.mkdir", path="/var/lib/other")
    await systemd_guest.shell("test ! -e /var/lib/other")
    exposure = await systemd_guest.shell(f"systemd-analyze security --no-pager {UNIT} | tail -n 1")
    assert float(exposure.split("level for virtagentd.service: ")[1].split()[0]) < 4.0
