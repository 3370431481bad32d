"""Policy, audit and doctor on a whole Debian, where the agent runs as its real unit beside a real journal."""

from __future__ import annotations

import asyncio
import json
import shlex
from typing import Any

import pytest

from tests.vm.conftest import MachineFactory
from tests.vm.harness import Image, Machine
from tests.vm.talk import PATIENCE, PORT, connected, url_of
from virtagent.guest.audit import MESSAGE_ID

ASK = r"""
import socket
client = socket.socket(socket.AF_UNIX)
client.connect("/run/virtagent/agent.sock")
client.sendall(b"\x94\x00\x01\xaafiles.stat\x90")
print(client.recv(65536))
"""
"""A call of plain msgpack-RPC, by any user."""


async def audited(machine: Machine, *filters: str, count: int = 1) -> list[dict[str, Any]]:
    """Entries of the audit in the guest's journal, once there are so many."""
    entries: list[dict[str, Any]] = []
    query = shlex.join(["journalctl", "-o", "json", "--no-pager", f"MESSAGE_ID={MESSAGE_ID}", *filters])
    async with asyncio.timeout(PATIENCE):
        while len(entries) < count:
            await machine.shell("journalctl --sync")
            entries = [json.loads(line) for line in (await machine.shell(query)).splitlines()]
    return entries


async def test_what_changes_the_machine_is_in_the_journal_with_who_did_it(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        command = {"argv": ["true"]}
        await line.guest.call("jobs.start", command=command, env={"PASSWORD": "hunter22"}, name="quick")
        await line.guest.system.info()
        (entry,) = await audited(systemd_guest, "VIRTAGENT_METHOD=jobs.start")
        everything = await audited(systemd_guest)
    assert entry["VIRTAGENT_RESULT"] == "ok"
    assert entry["VIRTAGENT_CHANNEL"] == f"virtio:{PORT}"
    assert entry["_SYSTEMD_UNIT"] == "virtagentd.service"
    assert entry["VIRTAGENT_RULE"] == "the default for virtio: channels"
    assert json.loads(entry["VIRTAGENT_ARGUMENTS"]) == {"command": command, "env": "***", "name": "quick"}
    assert "hunter22" not in await systemd_guest.shell("journalctl --no-pager -o verbose -u virtagentd")
    assert {each["VIRTAGENT_METHOD"] for each in everything} == {"jobs.start"}


async def test_a_user_of_the_guest_may_not_do_what_root_may(systemd_guest: Machine) -> None:
    await systemd_guest.shell("chmod 666 /run/virtagent/agent.sock")
    ask = f"python3 -c {shlex.quote(ASK)}"
    assert "is missing" in await systemd_guest.shell(ask)  # as far as the arguments
    denied = await systemd_guest.shell(f"su alice -s /bin/sh -c {shlex.quote(ask)}")
    assert "user alice" in denied
    assert "lacks the role" in denied
    (entry,) = await audited(systemd_guest, "VIRTAGENT_RESULT=PermissionDenied")
    assert (entry["VIRTAGENT_USER"], entry["VIRTAGENT_METHOD"], entry["PRIORITY"]) == ("alice", "files.stat", "4")


async def test_a_rule_for_a_group_holds_after_a_restart(systemd_guest: Machine) -> None:
    rule = '[[policy]]\\nchannel = "unix"\\ngroups = ["alice"]\\nroles = ["files-read"]\\n'
    await systemd_guest.shell(f"printf '\\n{rule}' >>/etc/virtagent/agent.toml && virtagentd --check")
    await systemd_guest.shell("systemctl restart virtagentd && chmod 666 /run/virtagent/agent.sock")
    ask = f"su alice -s /bin/sh -c {shlex.quote(f'python3 -c {shlex.quote(ASK)}')}"
    assert "is missing" in await systemd_guest.shell(ask)


async def test_a_journal_that_hangs_keeps_no_call_from_being_answered(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        await systemd_guest.shell("systemctl kill --signal=STOP systemd-journald")
        try:
            async with asyncio.timeout(2 * PATIENCE):
                while not (found := await line.guest.health.statistics()).audit.dropped:
                    await asyncio.gather(
                        *(line.guest.call("jobs.remove", job=1_000_000) for _ in range(64)), return_exceptions=True
                    )
        finally:
            await systemd_guest.shell("systemctl kill --signal=CONT systemd-journald")
        assert found.audit.written > found.audit.dropped > 0
        (finding,) = [each async for each in line.guest.health.doctor(checks=("audit",))]
    assert finding.verdict == "warn"


async def test_the_doctor_finds_a_debian_in_order(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        found = {each.check: each async for each in line.guest.health.doctor()}
    assert not [each for each in found.values() if each.verdict == "fail"]
    assert not [each for each in found.values() if "could not be found out" in each.message]
    fine = {"channels", "virtio-port", "configuration", "supervision", "state-directory", "audit", "capabilities"}
    fine |= {"terminals", "kernel-log", "inotify", "dbus", "systemd", "logind", "freezing", "journal"}
    assert {name for name in fine if found[name].verdict != "ok"} == set()


VSOCK = r"""
import socket, time
for attempt in range(300):
    client = socket.socket(socket.AF_VSOCK)
    try:
        client.connect((1, 5002))
        break
    except OSError:
        client.close()
        time.sleep(0.1)
client.sendall(b"\x94\x00\x01\xaafiles.stat\x90")
print(client.recv(65536))
"""


async def test_over_vsock_a_machine_is_known_by_its_cid(machine_factory: MachineFactory, agent_image: Image) -> None:
    """The loopback's is 1, which is not the host's."""
    machine = await machine_factory(image=agent_image)
    await machine.shell("python3 -m virtagent.cli.daemon --channel vsock:any:5002 >/tmp/vsock.log 2>&1 &")
    denied = await machine.shell(f"python3 -c {shlex.quote(VSOCK)}; cat /tmp/vsock.log")
    assert "cid 1 at vsock:any:5002 lacks the role" in denied
    assert "cid 1 at vsock:any:5002: files.stat {}: PermissionDenied" in denied


@pytest.mark.parametrize("capability", ["CAP_SYSLOG CAP_SYS_TIME"])
async def test_the_doctor_names_what_the_unit_forbids(systemd_guest: Machine, capability: str) -> None:
    drop_in = "/run/systemd/system/virtagentd.service.d"
    await systemd_guest.shell(
        f"mkdir -p {drop_in} && printf '[Service]\\nCapabilityBoundingSet=~{capability}\\nReadOnlyPaths=/etc\\n'"
        f" >{drop_in}/test.conf && systemctl daemon-reload && systemctl restart virtagentd"
    )
    async with connected(url_of(systemd_guest, PORT)) as line:
        found = {each.check: each async for each in line.guest.health.doctor()}
    assert "CAP_SYS_TIME (setting the clock); CAP_SYSLOG (the kernel log)" in found["capabilities"].message
    assert "/etc" in found["filesystems"].message
    assert "ReadWritePaths=" in found["filesystems"].remedy
