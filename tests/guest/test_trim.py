"""Trimming; tests/vm/test_freeze.py has that of a real disk."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from virtagent.errors import FailedPrecondition, NotFound, Unavailable
from virtagent.guest.mounts import parse_mountinfo
from virtagent.guest.storage import StorageService
from virtagent.guest.trim import trim, trimmable

TABLE = """\
1 0 254:1 / / rw - ext4 /dev/vda1 rw
2 1 254:1 / /again rw - ext4 /dev/vda1 rw
3 1 254:2 / /srv rw - xfs /dev/vda2 rw
4 1 11:0 / /cd ro - iso9660 /dev/sr0 ro
5 1 0:9 / /nfs rw - nfs a:/ rw
"""


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorageService:
    (tmp_path / "mountinfo").write_text(TABLE)
    monkeypatch.setattr("virtagent.guest.trim.trim", lambda path, minimum: (len(path) * 1000, minimum or 512, ""))
    return StorageService(mountinfo=tmp_path / "mountinfo")


def test_each_local_filesystem_that_can_be_written_is_trimmed_once() -> None:
    assert [each.mountpoint for each in trimmable(list(parse_mountinfo(TABLE)))] == ["/", "/srv"]


async def test_each_result_comes_when_it_is_done(service: StorageService) -> None:
    results = [each async for each in await service.trim(minimum=4096)]
    assert [(each.mountpoint, each.source, each.trimmed, each.minimum) for each in results] == [
        ("/", "/dev/vda1", 1000, 4096),
        ("/srv", "/dev/vda2", 4000, 4096),
    ]
    assert [(each.number, each.count) for each in results] == [(1, 2), (2, 2)]


async def test_a_frozen_filesystem_is_left_alone_and_refused_if_it_was_named(service: StorageService) -> None:
    service.resources.frozen.add((254 << 8) | 2, "/srv")
    assert [each.error for each in [one async for one in await service.trim()]] == ["", "it is frozen"]
    with pytest.raises(FailedPrecondition, match="/srv is frozen"):
        await service.trim(["/srv"])
    with pytest.raises(NotFound):
        await service.trim(["/nothing"])


async def test_a_stream_that_is_ended_leaves_the_rest_alone(
    service: StorageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def record(path: str, minimum: int) -> tuple[int, int, str]:
        asked.append(path)
        return 0, 0, ""

    monkeypatch.setattr("virtagent.guest.trim.trim", record)
    results = await service.trim()
    await anext(results)
    await results.aclose()  # type: ignore[attr-defined]
    assert asked == ["/"]


async def test_no_more_is_trimmed_once_the_agent_goes(service: StorageService) -> None:
    results = await service.trim()
    await anext(results)
    await service.resources.stop("stop", "the agent was stopped")
    with pytest.raises(Unavailable, match="the agent was stopped"):
        await anext(results)


async def test_a_disk_that_takes_long_holds_nobody_up(service: StorageService, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr("virtagent.guest.trim.trim", lambda path, minimum: (release.wait(30), (0, 0, ""))[1])
    results = await service.trim()
    waiting = asyncio.ensure_future(anext(results))
    await asyncio.sleep(0)
    assert await service.freezes() == []
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    release.set()


def test_what_cannot_be_trimmed_says_so() -> None:
    assert trim("/proc", 0) == (0, 0, "neither the filesystem nor its disk can be trimmed")
    assert trim("/no/such/place", 0) == (0, 0, "No such file or directory")
