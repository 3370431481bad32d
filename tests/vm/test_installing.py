"""The Debian package and the single-file agent are installed in a guest, serve it, and leave nothing behind."""

from __future__ import annotations

import asyncio
import re
import shlex
from pathlib import Path

import pytest

from tests.vm.conftest import MachineFactory, Stopwatch
from tests.vm.harness import Image, Machine, build_debian
from tests.vm.harness.process import Process, check_call
from tests.vm.harness.wheel import REPOSITORY
from tests.vm.talk import PATIENCE, PORT, connected, url_of

LISTING = (
    "find /etc /usr /var/lib /var/cache /root /run/virtagent -xdev"
    " ! -name '*.pyc' ! -path '*/__pycache__*' {} 2>/dev/null | sort"
)
OURS = LISTING.format("-ipath '*virtagent*'")
SLOW = 240.0
"""Seconds for what takes twenty under emulation."""


@pytest.fixture(scope="session")
def bare_image(pyz: Path, deb: Path) -> Image:
    """Debian without the agent, but with what installs it, in /root."""
    return build_debian(None).plus({"/root/virtagentd.pyz": pyz, "/root/virtagent.deb": deb})


@pytest.fixture
async def bare_guest(machine_factory: MachineFactory, bare_image: Image) -> Machine:
    """A restored Debian that has Python, and no agent."""
    return await machine_factory(image=bare_image, ports=(PORT,), memory=512, smp=2)


async def test_the_package_installs_with_apt_serves_and_is_purged_without_a_trace(
    bare_guest: Machine, stopwatch: Stopwatch
) -> None:
    before = await bare_guest.shell(OURS)
    with stopwatch("apt-get install of the package, in the guest"):
        await bare_guest.shell("apt-get install -y /root/virtagent.deb", SLOW)
    async with connected(url_of(bare_guest, PORT)) as line:
        assert (await line.guest.ping()) > 0
    assert (await bare_guest.shell("systemctl is-enabled virtagentd.service")).strip() == "enabled"
    async with connected(url_of(bare_guest, PORT)) as line:
        await asyncio.wait_for(line.events.ups.get(), PATIENCE)
        with stopwatch("the same package again, through the agent itself"):
            done = await line.guest.processes.capture(["dpkg", "-i", "/root/virtagent.deb"], timeout=SLOW)
            assert done.returncode == 0, done.stderr
            await line.next_session()
        up = await asyncio.wait_for(line.events.ups.get(), PATIENCE)
    assert up.reason == "restart"
    await bare_guest.shell("apt-get remove -y virtagent", SLOW)
    assert "/etc/virtagent/agent.toml" in await bare_guest.shell(OURS)
    await bare_guest.shell("apt-get purge -y virtagent", SLOW)
    assert await bare_guest.shell(OURS) == before
    assert (await bare_guest.shell("systemctl --failed --no-legend")) == ""


async def test_the_single_file_installs_itself_serves_and_leaves_nothing(
    bare_guest: Machine, stopwatch: Stopwatch
) -> None:
    before = await bare_guest.shell(LISTING.format(""))
    with stopwatch("python3 virtagentd.pyz install, in the guest"):
        said = await bare_guest.shell("python3 /root/virtagentd.pyz install", SLOW)
    assert "wrote /etc/systemd/system/virtagentd.service\n" in said
    async with connected(url_of(bare_guest, PORT)) as line:
        assert (await line.guest.system.info()).hostname == "guest"
    again = await bare_guest.shell("python3 /root/virtagentd.pyz install", SLOW)
    assert "wrote" not in again
    await bare_guest.shell("python3 /root/virtagentd.pyz uninstall", SLOW)
    assert await bare_guest.shell(LISTING.format("")) == before
    assert (await bare_guest.shell("systemctl --failed --no-legend")) == ""


async def test_the_single_file_runs_without_a_home_on_a_read_only_system_and_for_others(bare_guest: Machine) -> None:
    bare = "env -i /usr/bin/python3 /root/virtagentd.pyz --check"
    assert "org.virtagent.0" in await bare_guest.shell(bare, SLOW)
    assert (await bare_guest.shell("ls /var/cache/virtagent")).strip().endswith("-cp311")
    await bare_guest.shell("rm -rf /var/cache/virtagent && mount -o remount,ro /")
    assert "org.virtagent.0" in await bare_guest.shell(bare, SLOW)
    await bare_guest.shell("mount -o remount,rw / && chmod 755 /root")
    for_others = f"setpriv --reuid 1000 --regid 1000 --clear-groups {bare}"
    assert "org.virtagent.0" in await bare_guest.shell(for_others, SLOW)
    places = await bare_guest.shell("ls -d /dev/shm/virtagent-* /run/virtagent/unpacked/* 2>/dev/null || true")
    assert "/dev/shm/virtagent-1000" in places.split()
    into_open = (
        "mkdir -m 777 /tmp/open; VIRTAGENT_UNPACK_DIR=/tmp/open python3 /root/virtagentd.pyz --check 2>&1 || true"
    )
    assert "/tmp/open: others may write to it" in await bare_guest.shell(into_open, SLOW)


async def test_the_command_line_of_the_page_gives_a_guest_that_answers(systemd_image: Image, tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "install.md").read_text()
    block = re.search(r"```sh\n(qemu-system-x86_64 .*?)```", page, re.DOTALL)
    assert block is not None
    process = Process()
    socket, disk = process.directory / "web1.sock", tmp_path / "web1.qcow2"
    assert systemd_image.disk is not None
    await check_call("qemu-img", "create", "-f", "qcow2", "-F", "raw", "-b", str(systemd_image.disk), str(disk))
    own = {"/run/vm/web1.sock": str(socket), "web1.qcow2": str(disk), "-accel kvm": "-accel tcg"}
    line = block.group(1).replace("\\\n", " ")
    for told, here in own.items():
        assert told in line
        line = line.replace(told, here)
    kernel = ["-kernel", str(systemd_image.kernel.image), "-initrd", str(systemd_image.initrd)]
    arguments = ["-append", f"console=ttyS0 quiet {systemd_image.kernel_arguments}", "-display", "none"]
    try:
        await process.start(
            ["setpriv", "--pdeathsig", "KILL", *shlex.split(line), *kernel, *arguments, "-serial", "stdio", "-smp", "2"]
        )
        async with connected(f"unix:{socket}?chardev=virtio", timeout=2 * PATIENCE, wait=True) as host:
            assert (await host.guest.system.info()).hostname == "guest"
    finally:
        await process.stop()
