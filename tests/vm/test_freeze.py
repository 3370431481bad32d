"""Freezing a real guest, its root filesystem first of all: whatever becomes of host and agent, it thaws."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.vm.conftest import Stopwatch
from tests.vm.harness import Machine
from tests.vm.talk import PATIENCE, PORT, connected, url_of
from virtagent import Aborted, AlreadyExists, FailedPrecondition, NotFound

FROZEN = 3.0
"""Seconds in which a write that does not block would long have ended."""


class Writer:
    """A process of the guest that writes to a filesystem, and blocks while that is frozen."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @classmethod
    async def started(cls, machine: Machine, path: str = "/root/written") -> Writer:
        """Begin to write to a new file."""
        await machine.control(
            f"import subprocess; writer = subprocess.Popen(['sh', '-c', 'echo written >{path}'],"
            " stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); None"
        )
        return cls(machine)

    async def ended(self, timeout: float) -> bool:
        """Whether it has ended within so many seconds."""
        source = f"try: found = writer.wait({timeout})\nexcept subprocess.TimeoutExpired: found = 'blocked'\nfound"
        found = await self._machine.control(source, timeout + PATIENCE)
        assert found in (0, "blocked")
        return bool(found == 0)


async def test_writes_to_a_frozen_root_block_and_go_on_after_the_thaw(
    systemd_guest: Machine, stopwatch: Stopwatch
) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        with stopwatch("freeze of the root filesystem"):
            lease = await line.guest.storage.freeze(["/"], deadline=120).__aenter__()
        assert lease.frozen == ["/"]
        assert lease.state.memory_locked
        writer = await Writer.started(systemd_guest)
        assert not await writer.ended(FROZEN)
        (held,) = await line.guest.storage.freezes()
        assert (held.lease, held.ended) == (lease.state.lease, "")
        assert 0 < held.remaining < 120
        with stopwatch("thaw of the root filesystem"):
            await lease.__aexit__(None, None, None)
        assert await writer.ended(PATIENCE)
        assert await line.guest.storage.freezes() == []


async def test_the_agent_serves_while_the_root_is_frozen_and_does_not_touch_it(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        guest = line.guest
        async with guest.storage.freeze(["/"], deadline=120):
            # Services that were never called before are loaded now, and may not be compiled onto the frozen disk.
            assert (await guest.system.info()).hostname
            assert b"Debian" in b"".join([each async for each in guest.files.read("/etc/os-release")])
            assert [each async for each in guest.log.kernel()]
            (root,) = [each for each in await guest.storage.filesystems() if each.mountpoint == "/"]
            assert root.frozen
            assert (await guest.power.abilities()).manager == "systemd"
            with pytest.raises(AlreadyExists, match="frozen by the lease"):
                await guest.storage.freeze(["/"]).__aenter__()
            with pytest.raises(FailedPrecondition, match="is frozen"):
                async for _ in await guest.storage.trim(["/"]):
                    pass
            assert (await guest.agent.ping()).pid
        (root,) = [each for each in await guest.storage.filesystems() if each.mountpoint == "/"]
        assert not root.frozen


async def test_a_lease_ends_at_its_deadline_and_can_be_renewed(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        with pytest.raises(Aborted, match="deadline"):  # noqa: PT012 - leaving the block raises
            async with line.guest.storage.freeze(["/"], deadline=4) as lease:
                await lease.renew(8)
                writer = await Writer.started(systemd_guest)
                assert not await writer.ended(5)  # beyond the first deadline
                assert await lease.wait_lost(PATIENCE)
        assert await writer.ended(PATIENCE)
        with pytest.raises(NotFound, match="deadline passed"):
            await line.guest.storage.renew(lease.state.lease)


async def test_a_host_that_is_killed_leaves_nothing_frozen(systemd_guest: Machine, stopwatch: Stopwatch) -> None:
    program = Path(__file__).with_name("freezing_host.py")
    host = await asyncio.create_subprocess_exec(
        sys.executable, str(program), url_of(systemd_guest, PORT), "/", stdout=asyncio.subprocess.PIPE
    )
    assert host.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            assert await host.stdout.readline() == b"frozen\n"
        writer = await Writer.started(systemd_guest)
        assert not await writer.ended(FROZEN)
    finally:
        host.kill()
        await host.wait()
    with stopwatch("host killed: until the root filesystem is thawed"):
        assert await writer.ended(PATIENCE)
    async with connected(url_of(systemd_guest, PORT)) as line:
        assert await line.guest.storage.freezes() == []


async def test_an_agent_that_is_killed_leaves_nothing_frozen(systemd_guest: Machine, stopwatch: Stopwatch) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        with pytest.raises(Aborted, match="not frozen to the end"):  # noqa: PT012 - as above
            async with line.guest.storage.freeze(["/"], deadline=600) as lease:
                writer = await Writer.started(systemd_guest)
                assert not await writer.ended(FROZEN)
                await systemd_guest.kill_agent("SIGKILL")
                with stopwatch("agent killed: until the root filesystem is thawed"):
                    assert await writer.ended(PATIENCE)
                assert await lease.wait_lost(PATIENCE)
        await line.next_session()
        assert await line.guest.storage.freezes() == []


async def test_the_agent_thaws_if_its_watchdog_process_is_killed(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        with pytest.raises(Aborted, match="watchdog process was killed"):  # noqa: PT012 - as above
            async with line.guest.storage.freeze(["/"], deadline=600) as lease:
                writer = await Writer.started(systemd_guest)
                assert not await writer.ended(FROZEN)
                await systemd_guest.shell("pkill -KILL -f [f]reeze_keeper")
                assert await lease.wait_lost(PATIENCE)
        assert await writer.ended(PATIENCE)


async def test_a_filesystem_on_a_file_of_another_is_frozen_before_that_and_hooks_run_around_it(
    systemd_guest: Machine,
) -> None:
    await systemd_guest.shell(
        "modprobe loop && truncate -s 32M /root/image && mkfs.ext4 -q /root/image && mkdir -p /srv/inner"
        " && mount -o loop /root/image /srv/inner"
        " && mkdir -p /etc/virtagent/freeze-hooks.d && cd /etc/virtagent/freeze-hooks.d"
        " && printf '#!/bin/sh\\necho first $1 >>/run/hooks\\n' >10-first"
        " && printf '#!/bin/sh\\necho second $1 >>/run/hooks\\n' >20-second && chmod 755 10-first 20-second"
    )
    async with connected(url_of(systemd_guest, PORT)) as line:
        async with line.guest.storage.freeze(deadline=120) as lease:
            assert lease.frozen == ["/srv/inner", "/"]
            assert (await systemd_guest.shell("cat /run/hooks")).splitlines() == ["first freeze", "second freeze"]
            writer = await Writer.started(systemd_guest, "/srv/inner/file")
            assert not await writer.ended(FROZEN)
        assert await writer.ended(PATIENCE)
        assert (await systemd_guest.shell("cat /run/hooks")).splitlines()[2:] == ["second thaw", "first thaw"]
        assert [each.argument for each in lease.state.hooks] == ["freeze", "freeze", "thaw", "thaw"]


async def test_hooks_of_the_thaw_run_though_the_agent_was_killed(systemd_guest: Machine) -> None:
    await systemd_guest.shell(
        "mkdir -p /etc/virtagent/freeze-hooks.d && cd /etc/virtagent/freeze-hooks.d"
        " && printf '#!/bin/sh\\necho $1 >>/run/hooks\\n' >hook && chmod 755 hook"
    )
    async with connected(url_of(systemd_guest, PORT)) as line:
        with pytest.raises(Aborted):  # noqa: PT012 - as above
            async with line.guest.storage.freeze(["/"], deadline=600):
                await systemd_guest.kill_agent("SIGKILL")
                await line.next_session()
        follow = "timeout 60 sh -c 'until grep -q thaw /run/hooks; do sleep 0.1; done; cat /run/hooks'"
        assert (await systemd_guest.shell(follow, 90)).split() == ["freeze", "thaw"]


async def test_a_hook_that_fails_keeps_the_freeze_from_happening(systemd_guest: Machine) -> None:
    await systemd_guest.shell(
        "mkdir -p /etc/virtagent/freeze-hooks.d && cd /etc/virtagent/freeze-hooks.d"
        " && printf '#!/bin/sh\\n[ $1 = thaw ] || { echo the database is busy >&2; exit 4; }\\n' >hook"
        " && chmod 755 hook"
    )
    async with connected(url_of(systemd_guest, PORT)) as line:
        with pytest.raises(Aborted, match="exit status 4: the database is busy; nothing is frozen"):
            await line.guest.storage.freeze(["/"]).__aenter__()
        writer = await Writer.started(systemd_guest)
        assert await writer.ended(PATIENCE)
        async with line.guest.storage.freeze(["/"], hooks=False) as lease:
            assert lease.frozen == ["/"]


async def test_what_others_froze_is_told_and_thawed_by_force_only(systemd_guest: Machine) -> None:
    await systemd_guest.shell(
        "modprobe loop && truncate -s 32M /root/image && mkfs.ext4 -q /root/image && mount -o loop /root/image /srv"
        " && fsfreeze -f /srv"
    )
    async with connected(url_of(systemd_guest, PORT)) as line:
        with pytest.raises(FailedPrecondition, match="somebody else has frozen it already"):
            await line.guest.storage.freeze(["/srv"]).__aenter__()
        async with line.guest.storage.freeze() as lease:
            assert lease.frozen == ["/"]
            assert [(each.mountpoint, each.status) for each in lease.left_out] == [("/srv", "busy")]
        writer = await Writer.started(systemd_guest, "/srv/file")
        assert (await line.guest.storage.thaw()).filesystems == []
        assert not await writer.ended(FROZEN)
        done = await line.guest.storage.thaw(force=True)
        assert [(each.mountpoint, each.error) for each in done.filesystems] == [("/srv", "")]
        assert await writer.ended(PATIENCE)


async def test_what_is_trimmed_is_given_back(systemd_guest: Machine) -> None:
    await systemd_guest.shell(
        "dd if=/dev/urandom of=/root/large bs=1M count=48 2>/dev/null; sync; rm /root/large; sync"
    )
    async with connected(url_of(systemd_guest, PORT)) as line:
        results = [each async for each in await line.guest.storage.trim()]
    (root,) = [each for each in results if each.mountpoint == "/"]
    assert (root.error, root.count) == ("", len(results))
    assert root.trimmed >= 48 * 2**20


async def test_disks_are_told_with_their_addresses(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        disks = await line.guest.storage.disks()
        (root,) = [each for each in await line.guest.storage.filesystems() if each.mountpoint == "/"]
        counters = {each.name: each for each in await line.guest.storage.counters()}
    (disk,) = [each for each in disks if each.name == "/dev/vda"]
    assert disk.size == int(await systemd_guest.shell("blockdev --getsize64 /dev/vda"))
    assert disk.address is not None
    assert (disk.address.serial, disk.address.bus_type) == ("root", "virtio")
    assert disk.address.pci is not None
    shown = (await systemd_guest.shell("readlink -f /sys/block/vda/device/..")).strip().rpartition("/")[2]
    pci = disk.address.pci
    assert f"{pci.domain:04x}:{pci.bus:02x}:{pci.slot:02x}.{pci.function}" == shown
    assert [each.device for each in root.disks] == ["/dev/vda"]
    assert root.total == int((await systemd_guest.shell("stat -f -c '%b %S' /")).split()[0]) * 4096
    assert counters["/dev/vda"].read_bytes > 0
