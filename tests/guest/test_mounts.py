"""What is mounted."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.api.storage import DiskAddress
from virtagent.errors import FailedPrecondition, InvalidArgument, NotFound
from virtagent.guest.filesystems import Filesystems, Sizes
from virtagent.guest.freeze_targets import choose_targets, find_mounts, local_filesystems
from virtagent.guest.mounts import Mount, by_filesystem, parse_mountinfo, read_mounts
from virtagent.guest.storage import StorageService

TABLE = r"""
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard
23 22 0:21 / /proc rw,nosuid - proc proc rw
24 22 0:30 / /tmp rw - tmpfs tmpfs rw,size=1024k
25 22 254:1 /srv/www /var/www ro,relatime shared:1 - ext4 /dev/vda1 rw,discard
26 22 254:2 / /home/My\040Files rw,relatime shared:9 master:3 - xfs /dev/vda2 rw
27 22 0:40 / /mnt/server rw - nfs4 server:/export rw,vers=4.2
28 22 0:41 / /mnt/ssh rw - fuse.sshfs alice@host: rw
29 22 0:42 /@home /data rw - btrfs /dev/vdb rw,subvol=/@home
30 22 0:42 /@ /pool rw - btrfs /dev/vdb rw,subvol=/@
31 22 11:0 / /media/cdrom ro - iso9660 /dev/sr0 ro
"""


@pytest.fixture
def mounts() -> list[Mount]:
    return list(parse_mountinfo(TABLE))


def test_a_line_is_understood_with_its_escapes_and_optional_fields(mounts: list[Mount]) -> None:
    assert mounts[4] == Mount(26, "254:2", "/", "/home/My Files", "rw,relatime", "xfs", "/dev/vda2", "rw")
    assert len(mounts) == 10


def test_the_mounts_of_this_machine_are_read() -> None:
    mounts = read_mounts()
    assert "/" in {each.mountpoint for each in mounts}
    assert any(each.type == "proc" and each.is_kernel for each in mounts)


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    for each in parse_mountinfo(text):
        assert each.mountpoint is not None


@given(st.text(st.characters(min_codepoint=1, max_codepoint=0x2FF), min_size=1))
def test_any_path_comes_through_as_the_kernel_escapes_it(path: str) -> None:
    path = f"/{path}"
    escaped = "".join(f"\\{ord(each):03o}" if each in " \t\n\\" else each for each in path)
    (mount,) = parse_mountinfo(f"1 0 8:1 / {escaped} rw - ext4 /dev/sda1 rw")
    assert mount.mountpoint == path


def test_a_filesystem_that_is_mounted_twice_is_one_and_the_whole_of_it_stands_first(mounts: list[Mount]) -> None:
    assert [each.mountpoint for each in by_filesystem(mounts)["254:1"]] == ["/", "/var/www"]
    moved = [mounts[3], mounts[0]]
    assert [each.mountpoint for each in by_filesystem(moved)["254:1"]] == ["/", "/var/www"]


def test_local_filesystems_are_those_with_a_disk_here(mounts: list[Mount]) -> None:
    found = [places[0].mountpoint for places in local_filesystems(mounts)]
    assert found == ["/", "/home/My Files", "/data", "/media/cdrom"]


def test_mountpoints_are_found_once_for_each_filesystem_in_the_order_of_mounting(mounts: list[Mount]) -> None:
    found = find_mounts(mounts, ["/home/My Files/", "/var/www", "/"])
    assert [each.mountpoint for each in found] == ["/var/www", "/home/My Files"]


def test_of_two_mounts_at_one_place_the_later_one_is_meant(mounts: list[Mount]) -> None:
    over = Mount(40, "254:9", "/", "/", "rw", "ext4", "/dev/vda9", "rw")
    assert find_mounts([*mounts, over], ["/"]) == [over]


@pytest.mark.parametrize(
    ("path", "error"), [("/nothing", NotFound), ("/tmp/below", NotFound), ("home", InvalidArgument)]
)
def test_what_is_no_mountpoint_is_refused(path: str, error: type[Exception], mounts: list[Mount]) -> None:
    with pytest.raises(error):
        find_mounts(mounts, [path])


def test_what_lies_on_a_server_is_not_frozen(mounts: list[Mount]) -> None:
    with pytest.raises(FailedPrecondition, match="freeze it where its disk is"):
        choose_targets(["/mnt/server"], mounts)


def mount_of(path: Path, mountpoint: Path | None = None, *, options: str = "rw") -> Mount:
    """A mount that says of a directory that a filesystem is mounted there."""
    device = os.stat(path).st_dev
    where = str(mountpoint or path)
    return Mount(1, f"{os.major(device)}:{os.minor(device)}", "/", where, "rw", "ext4", "/dev/vda1", options)


def test_targets_are_open_descriptors_of_what_is_really_seen(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (target,) = choose_targets([str(tmp_path)], [mount_of(tmp_path)])
    assert os.fstat(target.descriptor).st_ino == os.stat(tmp_path).st_ino
    assert os.stat(tmp_path).st_dev in target.devices
    target.close()
    target.close()
    hidden = mount_of(Path("/proc"), tmp_path)
    with pytest.raises(FailedPrecondition, match="another mount hides it"):
        choose_targets([str(tmp_path)], [hidden._replace(device="8:77")])
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_read_only_filesystem_is_left_out_unless_it_is_named(tmp_path: Path) -> None:
    table = [mount_of(tmp_path, options="ro,errors=remount-ro")]
    with pytest.raises(FailedPrecondition, match="no filesystem that could be frozen"):
        choose_targets(None, table)
    (target,) = choose_targets([str(tmp_path)], table)
    target.close()


def no_disks(_: str) -> list[DiskAddress]:
    return []


async def test_a_server_that_does_not_answer_costs_its_time_once_and_others_nothing(tmp_path: Path) -> None:
    release, asked = threading.Event(), []

    def statvfs(path: str) -> os.statvfs_result:
        asked.append(path)
        if path == "/mnt/dead":
            release.wait(30)
        return os.statvfs("/")

    sizes = Sizes(statvfs, patience=0.05)
    filesystems = Filesystems(sizes, no_disks, lambda device: False)
    table = list(
        parse_mountinfo(
            "1 0 0:50 / /mnt/dead rw - nfs4 a:/ rw\n2 0 0:51 / /mnt/alive rw - nfs4 b:/ rw\n"
            f"3 0 0:52 / {tmp_path} rw - tmpfs tmpfs rw\n"
        )
    )
    try:
        for _ in range(2):
            dead, alive, local = await filesystems.list(table, everything=False, ask_network=True)
            assert (dead.error, dead.total) == ("does not answer", None)
            assert alive.total
            assert local.total
        assert asked.count("/mnt/dead") == 1
        for each in await filesystems.list(table, everything=False, ask_network=False):
            assert (each.total is None) == each.network
    finally:
        release.set()
    async with asyncio.timeout(20):
        while sizes._hanging:
            await asyncio.sleep(0.01)
    (dead, *_) = await filesystems.list(table, everything=False, ask_network=True)
    assert dead.total  # it came back


async def test_the_filesystems_of_this_machine_are_told_with_their_sizes(tmp_path: Path) -> None:
    found = {each.mountpoint: each for each in await StorageService().filesystems()}
    root, size = found["/"], os.statvfs("/")
    assert root.total == size.f_blocks * size.f_frsize
    assert root.used is not None
    assert root.free is not None
    assert root.used + root.free == root.total
    assert not root.frozen
    assert "/proc" not in found
    assert "/proc" in {each.mountpoint for each in await StorageService().filesystems(everything=True)}


async def test_a_frozen_filesystem_is_told_as_such(tmp_path: Path) -> None:
    service = StorageService()
    service.resources.frozen.add(os.stat("/").st_dev, "/")
    found = {each.mountpoint: each.frozen for each in await service.filesystems()}
    if "/" in found:
        assert found["/"]
