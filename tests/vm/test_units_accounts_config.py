"""Units, accounts and configuration where they are real: a whole Debian whose agent is a unit, with systemd's D-Bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.guest.test_authorized_keys import key
from tests.vm.harness import Machine
from tests.vm.talk import PATIENCE, PORT, connected, url_of
from virtagent.errors import FailedPrecondition, NotFound
from virtagent.host.guest import Guest

UNITS = {
    "steady": "[Service]\nExecStart=sleep 1000\n[Install]\nWantedBy=multi-user.target\n",
    "failing": "[Service]\nType=oneshot\nExecStart=false\n",
    "gated": "[Service]\nType=notify\nNotifyAccess=all\nExecStart=/run/gated\n",
}

GATED = "#!/bin/bash\\nread < /run/gate; systemd-notify --ready; exec sleep 1000\\n"
"""Ready when somebody writes into the pipe."""


@asynccontextmanager
async def guest_of(machine: Machine) -> AsyncIterator[Guest]:
    async with connected(url_of(machine, PORT)) as line:
        yield line.guest


async def install(machine: Machine) -> None:
    await machine.shell(f"printf '{GATED}' > /run/gated && chmod 755 /run/gated && mkfifo /run/gate")
    for name, text in UNITS.items():
        quoted = text.replace("'", "'\\''")
        await machine.shell(f"printf '%s' '{quoted}' > /usr/lib/systemd/system/{name}.service")


async def test_units_are_managed_as_by_systemctl(systemd_guest: Machine) -> None:
    await install(systemd_guest)
    async with guest_of(systemd_guest) as guest:
        units = guest.units
        await units.daemon_reload()
        me = await units.status("virtagentd")
        assert (me.active, me.sub, me.load) == ("active", "running", "loaded")
        assert me.main_pid == int(await systemd_guest.shell("systemctl show -P MainPID virtagentd"))
        assert "virtagentd.service" in [each.name for each in await units.list(types=["service"], states=["active"])]
        assert all(each.name.startswith("systemd-") for each in await units.list(patterns=["systemd-*"]))

        started = await units.start("steady")
        assert (started.active, started.sub) == ("active", "running")
        assert started.main_pid
        again = await units.restart("steady")
        assert again.main_pid not in (None, started.main_pid)
        links = await units.enable(["steady"])
        assert [each.path for each in links] == ["/etc/systemd/system/multi-user.target.wants/steady.service"]
        assert (await units.status("steady")).unit_file == "enabled"
        assert [each.kind for each in await units.disable(["steady"])] == ["unlink"]
        assert (await units.stop("steady")).active == "inactive"
        await units.mask(["steady"], runtime=True)
        with pytest.raises(FailedPrecondition, match="masked"):
            await units.start("steady")
        await units.unmask(["steady"], runtime=True)

        with pytest.raises(FailedPrecondition, match=r"the job failed; it is failed \(failed\), result 'exit-code'"):
            await units.start("failing")
        assert [each.name for each in await units.list(states=["failed"])] == ["failing.service"]
        await units.reset_failed("failing")
        assert await units.list(states=["failed"]) == []
        for call in (units.status("no-such"), units.start("no-such"), units.enable(["no-such"])):
            with pytest.raises(NotFound):
                await call
        with pytest.raises(FailedPrecondition):
            await units.reload("steady")


async def test_a_unit_is_waited_for_without_asking_again(systemd_guest: Machine) -> None:
    await install(systemd_guest)
    await systemd_guest.shell("systemctl daemon-reload")
    async with guest_of(systemd_guest) as guest:
        waiting = asyncio.create_task(guest.units.wait_for("gated"))
        starting = asyncio.create_task(guest.units.start("gated"))
        assert (await asyncio.wait_for(guest.units.wait_for("gated", state="activating"), PATIENCE)).sub == "start"
        assert not waiting.done()
        assert not starting.done()
        await systemd_guest.shell("echo go > /run/gate")
        assert (await asyncio.wait_for(waiting, PATIENCE)).active == "active"
        assert (await asyncio.wait_for(starting, PATIENCE)).sub == "running"
        failed = asyncio.create_task(guest.units.wait_for("gated", state="failed"))
        await systemd_guest.shell("systemctl kill -s KILL gated")
        assert (await asyncio.wait_for(failed, PATIENCE)).result == "signal"


CHECK = 'import crypt,spwd; h=spwd.getspnam("alice").sp_pwdp; print(crypt.crypt("{}", h) == h)'


async def test_a_password_that_was_set_is_the_password(systemd_guest: Machine) -> None:
    async def accepts(password: str) -> bool:
        return (await systemd_guest.shell(f"python3 -W ignore -c '{CHECK.format(password)}'")).strip() == "True"

    async with guest_of(systemd_guest) as guest:
        await guest.accounts.set_password("alice", "correct: horse")
        assert await accepts("correct: horse")
        assert not await accepts("correct")
        assert (await guest.accounts.user("alice")).password == "set"
        assert (await guest.accounts.lock("alice")).password == "locked"
        assert not await accepts("correct: horse")
        assert (await guest.accounts.lock("alice", locked=False)).password == "set"
        assert await accepts("correct: horse")
        hashed = (await systemd_guest.shell("openssl passwd -6 staple 2>/dev/null || true")).strip()
        if hashed.startswith("$6$"):
            await guest.accounts.set_password("alice", hashed, crypted=True)
            assert await accepts("staple")
        with pytest.raises(NotFound):
            await guest.accounts.set_password("nobody-here", "x")
        log = await systemd_guest.shell("journalctl -o cat -u virtagentd")
    assert "accounts.set_password" in log
    assert "correct: horse" not in log


async def test_keys_belong_to_the_user_and_open_nothing_else(systemd_guest: Machine) -> None:
    async with guest_of(systemd_guest) as guest:
        change = await guest.accounts.add_authorized_keys("alice", [key(1, "anna@desk"), key(2)])
        assert (change.added, change.total) == (2, 2)
        owners = await systemd_guest.shell("stat -c '%U:%G %a %n' ~alice/.ssh ~alice/.ssh/authorized_keys")
        assert owners.split() == [
            *("alice:alice", "700", "/home/alice/.ssh"),
            *("alice:alice", "600", "/home/alice/.ssh/authorized_keys"),
        ]
        assert [each.comment for each in await guest.accounts.authorized_keys("alice")] == ["anna@desk", ""]
        assert (await guest.accounts.remove_authorized_keys("alice", [key(2)])).removed == 1
        await systemd_guest.shell("rm -r ~alice/.ssh && su alice -c 'ln -s /etc ~/.ssh'")
        with pytest.raises(FailedPrecondition, match="left alone"):
            await guest.accounts.add_authorized_keys("alice", [key(1)])
        assert await systemd_guest.shell("ls /etc/authorized_keys 2>&1 || true") != "/etc/authorized_keys\n"


async def test_configuration_is_applied_once_also_over_a_restart_of_the_agent(systemd_guest: Machine) -> None:
    content = "#!/bin/bash\necho once >> /root/times; id -un"
    async with guest_of(systemd_guest) as guest:
        items = [each async for each in await guest.config.apply("web/base", content)]
        assert b"".join(each.stdout for each in items) == b"root\n"
        assert items[-1].piece is not None
        assert items[-1].piece.outcome == "applied"
    await systemd_guest.shell("systemctl restart virtagentd")
    async with guest_of(systemd_guest) as guest:
        assert await guest.config.is_configured("web/base")
        (only,) = [each async for each in await guest.config.apply("web/base", content)]
        assert not only.changed
    assert await systemd_guest.shell("cat /root/times; stat -c %a /var/lib/virtagent/config") == "once\n700\n"
