"""The service `files` on a real file system: what is written is whole or not there, and trees are changed safely."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from virtagent.api.file_types import Entry
from virtagent.errors import (
    AlreadyExists,
    CallError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    SessionLost,
)
from virtagent.guest import uploads
from virtagent.guest.configuration import PolicyRule
from virtagent.guest.file_roots import Roots
from virtagent.guest.files import FilesService
from virtagent.guest.grants import Grant
from virtagent.guest.peer_identity import PeerIdentity
from virtagent.guest.policy import Policy
from virtagent.guest.resources import Resources

TOKEN = "0123456789abcdef"


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for each in data:
        yield each


async def lost_after(*data: bytes) -> AsyncIterator[bytes]:
    for each in data:
        yield each
    raise SessionLost("the session was lost")


async def endless(begun: asyncio.Event) -> AsyncIterator[bytes]:
    yield b"some"
    begun.set()
    await asyncio.Event().wait()


@pytest.fixture
def service() -> FilesService:
    return FilesService()


class Restricted(Resources):
    """Resources of an agent whose callers have roots."""

    def __init__(self, read: Path, write: Path) -> None:
        super().__init__()
        grant = Grant(read_roots=(str(read),), write_roots=(str(write),))
        self.grants.of = lambda context: grant  # type: ignore[method-assign]


# -- put ---------------------------------------------------------------------------------------------------------


async def test_a_new_file_is_there_as_a_whole_with_mode_and_time(service: FilesService, tmp_path: Path) -> None:
    path = tmp_path / "new"
    written = await service.put(str(path), pieces(b"one", b"two"), mode=0o640, mtime=1_234_567_890_123_456_789)
    assert path.read_bytes() == b"onetwo"
    found = path.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o640, 1_234_567_890_123_456_789)
    assert (written.size, written.written, written.inode) == (6, 6, found.st_ino)
    assert os.listdir(tmp_path) == ["new"]


async def test_a_file_that_is_replaced_gives_its_mode_to_the_new_one(service: FilesService, tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_bytes(b"old")
    path.chmod(0o751)
    await service.put(str(path), pieces(b"new"))
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o751)


@pytest.mark.root
async def test_a_file_that_is_replaced_gives_its_owner_to_the_new_one(service: FilesService, tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_bytes(b"old")
    os.chown(path, 1234, 4321)
    await service.put(str(path), pieces(b"new"))
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)
    await service.put(str(path), pieces(b"new"), user="daemon", group="77")
    assert (path.stat().st_uid, path.stat().st_gid) == (1, 77)


async def test_whoever_has_the_old_file_open_keeps_it(service: FilesService, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old content")
    with path.open("rb") as reader:
        await service.put(str(path), pieces(b"new"))
        assert reader.read() == b"old content"
    assert path.read_bytes() == b"new"


async def test_a_link_is_replaced_and_not_followed(service: FilesService, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"target")
    (tmp_path / "link").symlink_to("target")
    await service.put(str(tmp_path / "link"), pieces(b"new"))
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"target"


async def test_nothing_is_left_of_an_upload_that_is_cancelled(service: FilesService, tmp_path: Path) -> None:
    begun = asyncio.Event()
    task = asyncio.ensure_future(service.put(str(tmp_path / "file"), endless(begun)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert os.listdir(tmp_path) == []


async def test_nothing_is_left_of_an_upload_whose_session_is_lost(service: FilesService, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(SessionLost):
        await service.put(str(tmp_path / "file"), lost_after(b"new"))
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


async def test_an_upload_with_a_token_goes_on_where_it_was(service: FilesService, tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    assert (await service.partial(path, TOKEN)).size == 0
    with pytest.raises(SessionLost):
        await service.put(path, lost_after(b"first ", b"second "), token=TOKEN)
    there = await service.partial(path, TOKEN)
    assert (there.size, there.sha256) == (13, hashlib.sha256(b"first second ").hexdigest())
    written = await service.put(path, pieces(b"SECOND third"), token=TOKEN, offset=6)
    assert (written.size, written.written) == (18, 12)
    assert Path(path).read_bytes() == b"first SECOND third"
    assert os.listdir(tmp_path) == ["file"]


async def test_an_upload_cannot_go_on_beyond_what_is_there(service: FilesService, tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    with pytest.raises(FailedPrecondition, match="0 bytes of that upload are there, not 5; begin anew"):
        await service.put(path, pieces(b"x"), token=TOKEN, offset=5)
    with pytest.raises(SessionLost):
        await service.put(path, lost_after(b"abc"), token=TOKEN)
    with pytest.raises(FailedPrecondition, match="3 bytes"):
        await service.put(path, pieces(b"x"), token=TOKEN, offset=5)
    assert (await service.partial(path, TOKEN)).size == 3


async def test_an_upload_that_is_given_up_is_removed(service: FilesService, tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    with pytest.raises(SessionLost):
        await service.put(path, lost_after(b"abc"), token=TOKEN)
    await service.discard(path, TOKEN)
    await service.discard(path, TOKEN)
    assert os.listdir(tmp_path) == []


async def test_an_upload_that_nobody_goes_on_with_is_removed_after_a_while(
    service: FilesService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "KEPT_FOR", 0.01)
    with pytest.raises(SessionLost):
        await service.put(str(tmp_path / "file"), lost_after(b"abc"), token=TOKEN)
    while os.listdir(tmp_path):
        await asyncio.sleep(0.01)


async def test_uploads_that_are_kept_are_removed_when_the_agent_stops(service: FilesService, tmp_path: Path) -> None:
    with pytest.raises(SessionLost):
        await service.put(str(tmp_path / "file"), lost_after(b"abc"), token=TOKEN)
    await asyncio.sleep(0)
    assert len(os.listdir(tmp_path)) == 1
    await service.resources.stop("stop", "")
    assert os.listdir(tmp_path) == []


async def test_an_upload_that_the_agents_end_cancels_is_not_kept(service: FilesService, tmp_path: Path) -> None:
    begun = asyncio.Event()
    task = asyncio.ensure_future(service.put(str(tmp_path / "file"), endless(begun), token=TOKEN))
    await begun.wait()
    await service.resources.stop("stop", "")
    task.cancel()
    await asyncio.wait([task])
    assert os.listdir(tmp_path) == []


async def test_only_the_oldest_upload_goes_when_there_are_too_many(
    service: FilesService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MOST_KEPT", 2)
    for number in range(3):
        with pytest.raises(SessionLost):
            await service.put(str(tmp_path / f"file{number}"), lost_after(b"abc"), token=TOKEN)
        await asyncio.sleep(0)
    while len(os.listdir(tmp_path)) > 2:
        await asyncio.sleep(0.01)
    assert (await service.partial(str(tmp_path / "file0"), TOKEN)).size == 0
    assert (await service.partial(str(tmp_path / "file2"), TOKEN)).size == 3


async def test_a_link_that_waits_under_the_temporary_name_is_neither_followed_nor_taken(
    service: FilesService, tmp_path: Path
) -> None:
    (tmp_path / "victim").write_bytes(b"victim")
    (tmp_path / f".file.{TOKEN}.partial").symlink_to("victim")
    with pytest.raises(CallError):
        await service.put(str(tmp_path / "file"), pieces(b"x"), token=TOKEN, offset=3)
    await service.put(str(tmp_path / "file"), pieces(b"new"), token=TOKEN)
    assert (tmp_path / "victim").read_bytes() == b"victim"
    assert (tmp_path / "file").read_bytes() == b"new"


async def test_a_file_that_must_not_be_replaced_is_not(service: FilesService, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(AlreadyExists):
        await service.put(str(tmp_path / "file"), pieces(b"new"), replace=False)
    await service.put(str(tmp_path / "other"), pieces(b"new"), replace=False)
    assert sorted(os.listdir(tmp_path)) == ["file", "other"]
    assert (tmp_path / "file").read_bytes() == b"old"


async def test_a_file_that_appears_meanwhile_is_not_replaced_either(service: FilesService, tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def slow() -> AsyncIterator[bytes]:
        yield b"new"
        path.write_bytes(b"faster")

    with pytest.raises(AlreadyExists):
        await service.put(str(path), slow(), replace=False)
    assert path.read_bytes() == b"faster"
    assert os.listdir(tmp_path) == ["file"]


async def test_a_directory_is_not_replaced_by_a_file(service: FilesService, tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="is a directory; name the file in it"):
        await service.put(str(tmp_path), pieces(b"x"))


async def test_the_longest_name_there_is_can_be_put(service: FilesService, tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 127)
    await service.put(str(path), pieces(b"x"), token=TOKEN)
    assert path.read_bytes() == b"x"


@pytest.mark.root
async def test_nothing_is_left_of_an_upload_that_fills_the_disk(service: FilesService, small_disk: Path) -> None:
    (small_disk / "file").write_bytes(b"old")
    for token in (None, TOKEN):
        with pytest.raises(ResourceExhausted, match="No space left on device"):
            await service.put(str(small_disk / "file"), pieces(*[bytes(1 << 20)] * 8), token=token)
        assert os.listdir(small_disk) == ["file"]
    assert (small_disk / "file").read_bytes() == b"old"


async def test_a_frozen_file_system_is_not_written_to(service: FilesService, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "directory").mkdir()
    service.resources.frozen.add(os.stat(tmp_path).st_dev, "/mnt")
    path = str(tmp_path / "file")
    attempts = [
        service.put(path, pieces(b"x")),
        service.append(path, pieces(b"x")),
        service.write(path, pieces(b"x")),
        service.write(f"{path}2", pieces(b"x"), create=True),
        service.mkdir(f"{path}2"),
        service.mkdir(f"{path}2/3", parents=True),
        service.remove(path),
        service.remove(str(tmp_path / "directory"), recursive=True),
        service.rename(path, f"{path}2"),
        service.link(f"{path}2", path),
        service.link(f"{path}2", path, symbolic=True),
        service.chmod(path, 0o600),
        service.chown(path, user="0"),
        service.chown(path, user="0", follow=False),
        service.set_times(path, mtime=0),
        service.truncate(path, 0),
        service.temporary(directory=str(tmp_path)),
        service.extract(str(tmp_path / "directory"), pieces(b"")),
    ]
    for attempt in attempts:
        with pytest.raises(FailedPrecondition, match="/mnt is frozen"):
            await attempt
    assert sorted(os.listdir(tmp_path)) == ["directory", "file"]
    assert (tmp_path / "file").read_bytes() == b"old"


async def test_an_upload_to_a_file_system_that_is_frozen_meanwhile_is_removed_after_the_thaw(
    service: FilesService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "KEPT_FOR", 0.01)
    device = os.stat(tmp_path).st_dev

    async def freezing() -> AsyncIterator[bytes]:
        yield b"some"
        while not os.listdir(tmp_path):
            await asyncio.sleep(0)
        service.resources.frozen.add(device, "/mnt")
        yield b"more"

    with pytest.raises(FailedPrecondition, match="/mnt is frozen"):
        await service.put(str(tmp_path / "file"), freezing())
    await asyncio.sleep(0.05)
    assert len(os.listdir(tmp_path)) == 1, "it was touched while frozen"
    service.resources.frozen.discard(device)
    while os.listdir(tmp_path):
        await asyncio.sleep(0.01)


# -- in place ----------------------------------------------------------------------------------------------------


async def test_a_file_grows_at_its_end_and_changes_in_place(service: FilesService, tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert (await service.append(str(path), pieces(b"one "))).size == 4
    inode = path.stat().st_ino
    assert (await service.append(str(path), pieces(b"two", b" three"))).written == 9
    await service.write(str(path), pieces(b"TWO"), offset=4)
    assert path.read_bytes() == b"one TWO three"
    await service.truncate(str(path), 3)
    assert path.read_bytes() == b"one"
    assert path.stat().st_ino == inode
    with pytest.raises(NotFound):
        await service.append(str(tmp_path / "no"), pieces(b"x"), create=False)
    with pytest.raises(NotFound):
        await service.write(str(tmp_path / "no"), pieces(b"x"))


async def test_what_was_written_in_place_before_the_session_was_lost_stays(
    service: FilesService, tmp_path: Path
) -> None:
    with pytest.raises(SessionLost):
        await service.append(str(tmp_path / "file"), lost_after(b"one ", b"two "))
    assert (tmp_path / "file").read_bytes() == b"one two "


async def test_devices_and_pipes_are_written_to(service: FilesService, tmp_path: Path) -> None:
    assert (await service.write("/dev/null", pieces(b"x" * 100))).written == 100
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    await service.write(str(tmp_path / "fifo"), pieces(b"hello"))
    assert os.read(reader, 10) == b"hello"
    os.close(reader)


# -- the tree ----------------------------------------------------------------------------------------------------


async def test_directories_are_made_with_those_above_them(service: FilesService, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c"
    with pytest.raises(NotFound):
        await service.mkdir(str(path))
    await service.mkdir(str(path), parents=True, mode=0o700)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    with pytest.raises(AlreadyExists):
        await service.mkdir(str(path), parents=True)
    await service.mkdir(str(path), exist_ok=True)
    (tmp_path / "file").touch()
    with pytest.raises(AlreadyExists):
        await service.mkdir(str(tmp_path / "file"), exist_ok=True)


async def test_a_tree_is_removed_and_what_links_lead_to_stays(service: FilesService, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "file").touch()
    (tree / "a" / "link").symlink_to(tmp_path / "kept")
    (tree / "link").symlink_to("../kept")
    with pytest.raises(FailedPrecondition, match="not empty"):
        await service.remove(str(tree))
    assert (await service.remove(str(tree), recursive=True)).files == 6
    assert os.listdir(tmp_path) == ["kept"]
    assert os.listdir(tmp_path / "kept") == ["file"]
    (tmp_path / "link").symlink_to("kept")
    assert (await service.remove(str(tmp_path / "link"), recursive=True)).files == 1
    assert os.listdir(tmp_path / "kept") == ["file"]


async def test_removing_stops_at_the_bound(service: FilesService, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(10):
        (tree / str(number)).touch()
    with pytest.raises(ResourceExhausted, match="more than 4 files; 4 are gone"):
        await service.remove(str(tree), recursive=True, most=4)
    assert len(os.listdir(tree)) == 6
    assert (await service.remove(str(tree), recursive=True, most=7)).files == 7


async def test_a_removal_that_nobody_waits_for_any_more_stops(service: FilesService, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(3000):
        (tree / str(number)).touch()
    task = asyncio.ensure_future(service.remove(str(tree), recursive=True))
    while len(os.listdir(tree)) == 3000:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 0 < len(os.listdir(tree)) < 3000


@pytest.mark.root
async def test_what_is_mounted_in_a_tree_is_not_removed(service: FilesService, small_disk: Path) -> None:
    (small_disk / "file").touch()
    with pytest.raises(FailedPrecondition, match="is a mount point; unmount it first"):
        await service.remove(str(small_disk), recursive=True)
    with pytest.raises(FailedPrecondition, match="small.*is a mount point; unmount it first"):
        await service.remove(str(small_disk.parent), recursive=True)
    assert (small_disk / "file").exists()


async def test_what_is_not_there_may_be_removed_if_that_is_fine(service: FilesService, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await service.remove(str(tmp_path / "no"))
    assert (await service.remove(str(tmp_path / "no"), missing_ok=True)).files == 0


async def test_files_are_renamed_and_linked(service: FilesService, tmp_path: Path) -> None:
    a, b, c = (str(tmp_path / each) for each in "abc")
    Path(a).write_bytes(b"a")
    Path(b).write_bytes(b"b")
    with pytest.raises(AlreadyExists):
        await service.rename(a, b, replace=False)
    await service.rename(a, b)
    assert Path(b).read_bytes() == b"a"
    await service.rename(b, c, replace=False)
    await service.link(b, c)
    assert os.stat(b).st_ino == os.stat(c).st_ino
    await service.link(a, "no such file", symbolic=True)
    assert os.readlink(a) == "no such file"
    with pytest.raises(AlreadyExists):
        await service.link(a, c)
    await service.link(a, c, symbolic=True, replace=True)
    assert os.readlink(a) == c
    await service.link(b, c, replace=True)
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


async def test_modes_owners_and_times_are_set(service: FilesService, tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.touch()
    link.symlink_to("file")
    await service.chmod(str(link), 0o4711)
    assert stat.S_IMODE(path.stat().st_mode) == 0o4711
    await service.set_times(str(link), mtime=5, atime=7)
    assert (path.stat().st_mtime_ns, path.stat().st_atime_ns) == (5, 7)
    await service.set_times(str(link), mtime=9, follow=False)
    assert (path.stat().st_mtime_ns, link.lstat().st_mtime_ns) == (5, 9)
    with pytest.raises(InvalidArgument, match="the guest has no user 'nobody-at-all'"):
        await service.chown(str(path), user="nobody-at-all")


@pytest.mark.root
async def test_owners_are_names_or_numbers(service: FilesService, tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.touch()
    link.symlink_to("file")
    await service.chown(str(link), user="daemon")
    assert (path.stat().st_uid, path.stat().st_gid, link.lstat().st_uid) == (1, 0, 0)
    await service.chown(str(link), group="55", follow=False)
    assert (path.stat().st_gid, link.lstat().st_gid) == (0, 55)
    found = await service.stat(str(path))
    assert (found.user, found.group) == ("daemon", "root")


async def test_temporary_files_are_new_and_private(service: FilesService, tmp_path: Path) -> None:
    file = await service.temporary(directory=str(tmp_path), prefix="x-", suffix=".log")
    assert Path(file).name.startswith("x-")
    assert file.endswith(".log")
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    directory = await service.temporary(directory=str(tmp_path), kind="directory")
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    assert Path(directory).is_dir()
    with pytest.raises(InvalidArgument):
        await service.temporary(directory=str(tmp_path), prefix="../")


# -- looking -----------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "deep.txt").write_bytes(b"12345")
    (top / "a" / "one.txt").write_bytes(b"x" * 100)
    (top / ".hidden").write_bytes(b"h")
    (top / "link").symlink_to("a")
    os.link(top / "a" / "one.txt", top / "again")
    os.utime(top / "a" / "one.txt", ns=(10, 10))
    return top


def paths(entries: list[Entry]) -> list[str]:
    return sorted(each.path for each in entries)


async def test_a_directory_is_listed(service: FilesService, tree: Path) -> None:
    found = {each.path: each async for each in service.list(str(tree))}
    assert sorted(found) == [".hidden", "a", "again", "link"]
    assert (found["link"].kind, found["link"].target) == ("link", "a")
    assert (found["again"].size, found["again"].links, found["again"].mtime) == (100, 2, 10)
    with pytest.raises(NotFound, match="Not a directory"):
        service.list(str(tree / "again"))


async def test_a_tree_is_listed_down_to_a_depth(service: FilesService, tree: Path) -> None:
    everything = [".", ".hidden", "a", "a/b", "a/b/deep.txt", "a/one.txt", "again", "link"]
    assert paths([each async for each in service.tree(str(tree))]) == everything
    assert paths([each async for each in service.tree(str(tree), depth=0)]) == ["."]
    assert paths([each async for each in service.tree(str(tree), depth=1)]) == [".", ".hidden", "a", "again", "link"]
    assert paths([each async for each in service.tree(str(tree / "link"))]) == ["."]


async def test_a_tree_is_filtered_in_the_guest(service: FilesService, tree: Path) -> None:
    top = str(tree)
    assert paths([e async for e in service.tree(top, names=["*.txt"])]) == ["a/b/deep.txt", "a/one.txt"]
    assert paths([e async for e in service.tree(top, kinds=["link", "directory"])]) == [".", "a", "a/b", "link"]
    assert paths([e async for e in service.tree(top, smallest=6, kinds=["file"])]) == ["a/one.txt", "again"]
    assert paths([e async for e in service.tree(top, largest=5, kinds=["file"])]) == [".hidden", "a/b/deep.txt"]
    assert paths([e async for e in service.tree(top, older=10)]) == ["a/one.txt", "again"]
    assert paths([e async for e in service.tree(top, newer=11, kinds=["file"])]) == [".hidden", "a/b/deep.txt"]


async def test_a_listing_ends_at_its_bound_after_what_fits(service: FilesService, tree: Path) -> None:
    listing = service.tree(str(tree), most=3)
    for _ in range(3):
        await anext(listing)
    with pytest.raises(ResourceExhausted, match="more than 3 entries"):
        await anext(listing)
    assert len([each async for each in service.tree(str(tree), most=8)]) == 8


async def test_a_listing_that_is_left_closes_its_directories(service: FilesService, tree: Path) -> None:
    for number in range(2000):
        (tree / f"x{number}").touch()
    before = len(os.listdir("/proc/self/fd"))
    listing = service.tree(str(tree))
    await anext(listing)
    await listing.aclose()  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) == before


async def test_patterns_match_as_in_a_shell(service: FilesService, tree: Path) -> None:
    async def match(pattern: str) -> list[str]:
        return [each.removeprefix(f"{tree}/") for each in paths([e async for e in service.glob(f"{tree}/{pattern}")])]

    assert await match("*") == ["a", "again", "link"]
    assert await match(".h*") == [".hidden"]
    assert await match("a/*.txt") == ["a/one.txt"]
    assert await match("link/*.txt") == ["link/one.txt"]
    assert await match("**/*.txt") == ["a/b/deep.txt", "a/one.txt"]
    assert await match("a*") == ["a", "again"]
    assert await match("?/b/[cd]*") == ["a/b/deep.txt"]
    assert await match("again") == ["again"]
    assert await match("nothing/*") == []
    assert len(await match("**")) == 8
    with pytest.raises(InvalidArgument):
        service.glob("relative/*")
    with pytest.raises(InvalidArgument):
        service.glob("/a/../*")


async def test_disk_use_counts_each_file_once(service: FilesService, tree: Path) -> None:
    found = [each async for each in service.disk_use(str(tree), depth=1)]
    assert [each.path for each in found] == ["a", "."]
    directories = sum(os.stat(each).st_size for each in (tree, tree / "a", tree / "a" / "b"))
    assert found[-1].size == directories + 5 + 100 + 1 + os.lstat(tree / "link").st_size
    assert found[-1].files == 7
    (only,) = [each async for each in service.disk_use(str(tree / "again"))]
    assert (only.path, only.size, only.files) == (".", 100, 1)


async def test_checksums_are_those_of_the_range(service: FilesService, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    path = tmp_path / "file"
    path.write_bytes(data)
    found = await service.checksum(str(path))
    assert (found.digest, found.size) == (hashlib.sha256(data).hexdigest(), len(data))
    found = await service.checksum(str(path), algorithm="blake2b", offset=1000, length=2_000_000)
    assert (found.digest, found.size) == (hashlib.blake2b(data[1000:2_001_000]).hexdigest(), 2_000_000)
    with pytest.raises(FailedPrecondition, match="no file with an end"):
        await service.checksum("/dev/zero")
    with pytest.raises(FailedPrecondition):
        await service.checksum(str(tmp_path))


# -- policy ------------------------------------------------------------------------------------------------------


async def test_every_method_keeps_to_the_roots(tmp_path: Path) -> None:
    readable, writable = tmp_path / "read", tmp_path / "write"
    for each in (readable, writable):
        each.mkdir()
        (each / "file").write_bytes(b"inside")
        (each / "out").symlink_to(tmp_path)
    (tmp_path / "secret").write_bytes(b"secret")
    service = FilesService(Restricted(readable, writable))
    reading: list[Callable[[str], object]] = [
        service.read,
        lambda path: service.list(os.path.dirname(path)),
        service.tree,
        service.disk_use,
        service.archive,
        service.watch,
        service.follow,
    ]
    outside = (f"{tmp_path}/secret", f"{readable}/out/secret", f"{readable}/../secret", f"{writable}/file")
    for path in outside:
        for start in reading:
            with pytest.raises(PermissionDenied, match="outside of what may be read"):
                start(path)
        looking: tuple[Coroutine[Any, Any, Any], ...] = (service.stat(path), service.checksum(path))
        for call in looking:
            with pytest.raises(PermissionDenied, match="outside of what may be read"):
                await call
    for place in (str(tmp_path), f"{readable}/out"):
        assert [found async for found in service.glob(f"{place}/sec*")] == []
    inside = str(writable / "file")
    for path in (f"{tmp_path}/secret", f"{writable}/out/secret", f"{writable}/../secret", f"{readable}/file"):
        changing: tuple[Coroutine[Any, Any, Any], ...] = (
            service.put(path, pieces(b"x")),
            service.append(path, pieces(b"x")),
            service.write(path, pieces(b"x")),
            service.partial(path, TOKEN),
            service.discard(path, TOKEN),
            service.mkdir(f"{path}-new", parents=True),
            service.remove(path, recursive=True, missing_ok=True),
            service.rename(path, inside),
            service.rename(inside, path),
            service.link(f"{writable}/hard", path),
            service.link(path, inside, replace=True),
            service.chmod(path, 0o777),
            service.chown(path, user="0"),
            service.chown(path, user="0", follow=False),
            service.set_times(path, mtime=0),
            service.truncate(path, 0),
            service.temporary(directory=os.path.dirname(path)),
            service.extract(os.path.dirname(path), pieces(b"")),
        )
        for call in changing:
            with pytest.raises(PermissionDenied, match="outside of what may be written"):
                await call
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert sorted(os.listdir(tmp_path)) == ["read", "secret", "write"]
    assert sorted(os.listdir(writable)) == ["file", "out"]
    await service.put(inside, pieces(b"allowed"))
    assert (writable / "file").read_bytes() == b"allowed"


async def test_nobody_gets_a_set_user_id_program_below_roots(tmp_path: Path) -> None:
    service = FilesService(Restricted(tmp_path, tmp_path))
    file = tmp_path / "file"
    file.write_bytes(b"old")
    file.chmod(0o4755)
    with pytest.raises(PermissionDenied, match="set-user-ID"):
        await service.put(str(file), pieces(b"new"), mode=0o4755)
    with pytest.raises(PermissionDenied, match="set-user-ID"):
        await service.chmod(str(file), 0o6711)
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"old", 0o4755)
    await service.put(str(file), pieces(b"new"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o755
    await service.mkdir(str(tmp_path / "shared"), mode=0o2775)
    await service.chmod(str(tmp_path / "shared"), 0o2770)
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o2770


async def test_whoever_writes_around_a_root_cannot_move_it(tmp_path: Path) -> None:
    read, secrets = tmp_path / "served" / "data", tmp_path / "secrets"
    for each in (read, secrets):
        each.mkdir(parents=True)
    (secrets / "file").write_bytes(b"secret")
    rule = PolicyRule(read_roots=(str(read),), write_roots=(str(tmp_path / "served"),), roles=("files-write",))
    grant = Policy([rule]).grant(PeerIdentity("unix:/run/a", "unix", uid=1))
    service = FilesService(Restricted(read, tmp_path / "served"))
    service.resources.grants.of = lambda context: grant  # type: ignore[method-assign]
    await service.rename(str(read), f"{read}-gone")
    await service.link(str(read), str(secrets), symbolic=True)
    with pytest.raises(CallError, match="Not a directory"):
        await service.stat(f"{read}/file")
    assert [each async for each in service.glob(f"{read}/*")] == []


def test_a_root_may_be_named_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"inside")
    (tmp_path / "name").symlink_to("real")
    os.close(Roots((str(tmp_path / "name"),)).open(f"{tmp_path}/name/file", os.O_RDONLY))
