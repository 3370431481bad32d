"""Programs on filesystems whose server does not answer: the agent goes on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.guest.serving import served
from tests.guest.silent_fuse import LOOKUP, OPEN, SilentFuse
from virtagent.guest.network_mounts import MOST_LOOKS, NetworkMounts

pytestmark = pytest.mark.timeout(60)


def in_own_mounts(behaviour: str, directory: Path) -> None:
    """Run a behaviour of this module in a mount namespace of its own; its process is killed if it hangs."""
    code = f"import asyncio, pathlib, tests.guest.test_network_mounts as here\n{behaviour}"
    subprocess.run(
        ["unshare", "--mount", sys.executable, "-W", "error", "-c", code, str(directory)], check=True, timeout=45
    )


async def others_run_while_one_hangs(directory: Path, last: int, *, as_cwd: bool) -> None:
    """A program lies on a filesystem that hangs, or runs there; and others run meanwhile."""
    mountpoint = directory / "mnt"
    mountpoint.mkdir()
    async with served(directory) as guest:
        assert (await guest.processes.capture(["echo", "before"])).stdout == b"before\n"
        with SilentFuse(mountpoint, last) as silent:
            cwd = str(mountpoint / "sub") if as_cwd else ""
            argv = ["true"] if as_cwd else [str(mountpoint / "program")]
            hanging = asyncio.create_task(guest.processes.capture(argv, cwd=cwd))
            assert await asyncio.to_thread(silent.asked.wait, 20)
            async with asyncio.timeout(20):
                assert (await guest.processes.capture(["echo", "meanwhile"])).stdout == b"meanwhile\n"
            assert not hanging.done()
            hanging.cancel()
            await asyncio.wait([hanging], timeout=20)
            assert hanging.cancelled()
        async with asyncio.timeout(20):
            assert (await guest.processes.capture(["echo", "after"])).stdout == b"after\n"


@pytest.mark.root
@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="needs FUSE")
@pytest.mark.parametrize(
    ("last", "as_cwd"),
    [(LOOKUP, False), (LOOKUP, True), (OPEN, False)],
    ids=["looking it up", "its directory", "its exec"],
)
def test_a_program_on_a_filesystem_that_hangs_holds_up_nobody_else(tmp_path: Path, last: int, as_cwd: bool) -> None:
    call = f"here.others_run_while_one_hangs(pathlib.Path({str(tmp_path)!r}), {last}, as_cwd={as_cwd})"
    in_own_mounts(f"asyncio.run({call})", tmp_path)


MOUNTS = """\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
27 22 0:40 / /mnt/server rw - nfs4 server:/export rw
28 22 0:41 / /mnt/ssh rw - fuse.sshfs alice@host: rw
"""


async def test_the_devices_of_network_filesystems_are_told(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS)
    assert NetworkMounts(table).devices() == {40, 41}


async def test_without_a_list_of_mounts_nothing_hangs(tmp_path: Path) -> None:
    assert NetworkMounts(tmp_path / "no").devices() == frozenset()


async def test_a_look_returns_and_raises_what_the_function_does() -> None:
    mounts = NetworkMounts()
    assert await mounts.look(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await mounts.look(lambda: 1 // 0)


async def test_looks_that_hang_are_bounded_and_others_wait_for_them() -> None:
    mounts = NetworkMounts()
    answers = threading.Event()
    hanging = [asyncio.create_task(mounts.look(answers.wait)) for _ in range(MOST_LOOKS)]
    await asyncio.sleep(0)
    hanging[0].cancel()  # the thread stays where it is, and counts
    another = asyncio.create_task(mounts.look(threading.get_ident))
    await asyncio.wait([hanging[0]])
    assert not another.done()
    assert sum(each.name == "virtagent-look" for each in threading.enumerate()) == MOST_LOOKS
    answers.set()
    async with asyncio.timeout(20):
        assert await another != threading.get_ident()
        assert await asyncio.gather(*hanging[1:]) == [True] * (MOST_LOOKS - 1)
