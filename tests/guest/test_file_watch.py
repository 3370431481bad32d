"""A watch tells of every change of a real tree, as it grows, moves and goes."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from virtagent.api.file_types import Change, ChangeKind
from virtagent.errors import NotFound, ResourceExhausted, Unavailable
from virtagent.guest import file_watch
from virtagent.guest.files import FilesService

PATIENCE = 20.0


@pytest.fixture
def service() -> FilesService:
    return FilesService()


class Seen:
    """The changes of a watch."""

    def __init__(self, watch: AsyncIterator[Change]) -> None:
        self.watch = watch

    async def until(self, kind: ChangeKind, path: str) -> list[Change]:
        """All changes up to one."""
        found: list[Change] = []
        async with asyncio.timeout(PATIENCE):
            while not found or (found[-1].kind, found[-1].path) != (kind, path):
                found.append(await anext(self.watch))
        return found

    async def close(self) -> None:
        await self.watch.aclose()  # type: ignore[attr-defined]


def kinds(changes: list[Change], path: str) -> list[str]:
    return [each.kind for each in changes if each.path == path]


async def test_what_happens_in_a_directory_is_told_in_order(service: FilesService, tmp_path: Path) -> None:
    seen = Seen(service.watch(str(tmp_path)))
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "file").chmod(0o600)
    (tmp_path / "file").rename(tmp_path / "other")
    (tmp_path / "other").unlink()
    changes = await seen.until("deleted", "other")
    assert kinds(changes, "file") == ["created", "modified", "written", "attributes"]
    assert changes[4] == Change(kind="moved", path="other", source="file")
    await seen.close()


async def test_only_the_kinds_that_are_wanted_are_told(service: FilesService, tmp_path: Path) -> None:
    seen = Seen(service.watch(str(tmp_path), kinds=["written"]))
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"x")
    assert [(each.kind, each.path) for each in await seen.until("written", "b")] == [("written", "a"), ("written", "b")]
    await seen.close()


async def test_a_single_file_is_watched_until_it_goes(service: FilesService, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    seen = Seen(service.watch(str(path)))
    path.write_bytes(b"x")
    await seen.until("written", ".")
    path.unlink()
    await seen.until("gone", ".")
    with pytest.raises(StopAsyncIteration):
        await anext(seen.watch)
    await seen.close()


async def test_directories_that_are_made_are_watched_with_what_was_in_them_already(
    service: FilesService, tmp_path: Path
) -> None:
    seen = Seen(service.watch(str(tmp_path), recursive=True))
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c" / "early").touch()
    changes = await seen.until("created", "a/b/c/early")
    assert {each.path for each in changes if each.directory} >= {"a", "a/b", "a/b/c"}
    (tmp_path / "a" / "b" / "c" / "late").touch()
    await seen.until("created", "a/b/c/late")
    await seen.close()


async def test_below_a_directory_that_was_moved_paths_are_the_new_ones(service: FilesService, tmp_path: Path) -> None:
    (tmp_path / "old" / "inner").mkdir(parents=True)
    seen = Seen(service.watch(str(tmp_path), recursive=True))
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "new" / "inner" / "file").touch()
    changes = await seen.until("created", "new/inner/file")
    assert changes[0] == Change(kind="moved", path="new", source="old", directory=True)
    await seen.close()


async def test_what_is_moved_out_is_deleted_and_not_watched_any_more(service: FilesService, tmp_path: Path) -> None:
    (tmp_path / "top" / "gone").mkdir(parents=True)
    seen = Seen(service.watch(str(tmp_path / "top"), recursive=True))
    (tmp_path / "top" / "gone").rename(tmp_path / "elsewhere")
    await seen.until("deleted", "gone")
    (tmp_path / "elsewhere" / "unseen").touch()
    (tmp_path / "elsewhere").rename(tmp_path / "top" / "back")
    changes = await seen.until("created", "back/unseen")
    assert "gone/unseen" not in {each.path for each in changes}
    (tmp_path / "top" / "back" / "new").touch()
    await seen.until("created", "back/new")
    await seen.close()


async def test_links_are_not_followed_below(service: FilesService, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "link").symlink_to("../outside")
    seen = Seen(service.watch(str(tmp_path / "top"), recursive=True))
    (tmp_path / "outside" / "unseen").touch()
    (tmp_path / "top" / "seen").touch()
    changes = await seen.until("created", "seen")
    assert {each.path for each in changes} == {"seen"}
    await seen.close()


async def test_changes_that_the_kernel_dropped_are_told(service: FilesService, tmp_path: Path) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    seen = Seen(service.watch(str(tmp_path), recursive=True))
    for number in range(most // 2 + 10):
        path = tmp_path / f"f{number}"
        path.touch()
        path.unlink()
    (tmp_path / "made-in-the-flood").mkdir()
    assert len(await seen.until("overflow", ".")) <= most + 1
    (tmp_path / "made-in-the-flood" / "file").touch()
    await seen.until("created", "made-in-the-flood/file")
    await seen.close()


@pytest.mark.root
async def test_a_file_system_that_is_unmounted_ends_its_watch(service: FilesService, small_disk: Path) -> None:
    seen = Seen(service.watch(str(small_disk)))
    process = await asyncio.create_subprocess_exec("umount", str(small_disk))
    assert await process.wait() == 0
    await seen.until("unmounted", ".")
    with pytest.raises(StopAsyncIteration):
        await anext(seen.watch)
    await seen.close()
    process = await asyncio.create_subprocess_exec("mount", "-t", "tmpfs", "tmpfs", str(small_disk))
    assert await process.wait() == 0


async def test_what_cannot_be_watched_is_told_at_once(
    service: FilesService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound):
        service.watch(str(tmp_path / "no"))
    for number in range(5):
        (tmp_path / str(number)).mkdir()
    monkeypatch.setattr(file_watch, "MOST_DIRECTORIES", 3)
    with pytest.raises(ResourceExhausted, match="more than 3 directories"):
        service.watch(str(tmp_path), recursive=True)
    monkeypatch.setitem(sys.modules, "asyncinotify", None)
    with pytest.raises(Unavailable, match=r"install virtagent\[guest\]"):
        service.watch(str(tmp_path))


async def test_a_tree_that_outgrows_its_bound_ends_the_watch(
    service: FilesService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_watch, "MOST_DIRECTORIES", 2)
    seen = Seen(service.watch(str(tmp_path), recursive=True))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(ResourceExhausted):
        await seen.until("created", "never")
    await seen.close()


async def test_watches_end_when_the_agent_goes(service: FilesService, tmp_path: Path) -> None:
    seen = Seen(service.watch(str(tmp_path)))
    waiting = asyncio.ensure_future(anext(seen.watch))
    await asyncio.sleep(0)
    await service.resources.stop("stop", "the agent stops")
    with pytest.raises(Unavailable, match="the agent stops"):
        async with asyncio.timeout(PATIENCE):
            await waiting


async def test_nothing_is_missed_when_the_wait_for_a_change_is_cancelled(service: FilesService, tmp_path: Path) -> None:
    seen = Seen(service.watch(str(tmp_path), kinds=["created"]))
    for number in range(50):
        waiting = asyncio.ensure_future(anext(seen.watch))
        await asyncio.sleep(0)
        (tmp_path / f"a{number}").touch()
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        if not waiting.cancelled():
            assert waiting.result().path == f"a{number}"
            continue
        await seen.until("created", f"a{number}")
    await seen.close()


async def test_nothing_is_left_open(service: FilesService, tmp_path: Path) -> None:
    await Seen(service.watch(str(tmp_path), recursive=True)).close()
    before = len(os.listdir("/proc/self/fd"))
    seen = Seen(service.watch(str(tmp_path), recursive=True))
    (tmp_path / "x").mkdir()
    await seen.until("created", "x")
    await seen.close()
    assert len(os.listdir("/proc/self/fd")) == before
