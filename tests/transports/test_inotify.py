"""Waiting for files without polling."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from virtagent_transports.holders import access_remedy, holder_of
from virtagent_transports.inotify import DirectoryWatch, wait_until


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_file_several_missing_directories_down_is_noticed(short_tmp: Path) -> None:
    path = short_tmp / "a" / "b" / "file"
    waiting = asyncio.ensure_future(wait_until(lambda: str(path) if os.path.exists(path) else None, [str(path)]))
    await turns()
    (short_tmp / "a").mkdir()
    await turns()
    (short_tmp / "a" / "b").mkdir()
    await turns()
    assert not waiting.done()
    (short_tmp / "elsewhere").touch()
    os.rename(short_tmp / "elsewhere", path)
    async with asyncio.timeout(5):
        assert await waiting == str(path)


async def test_directories_made_all_at_once_are_not_missed(short_tmp: Path) -> None:
    path = short_tmp / "a" / "b" / "file"
    waiting = asyncio.ensure_future(wait_until(lambda: True if os.path.exists(path) else None, [str(path)]))
    await turns()
    path.parent.mkdir(parents=True)
    path.touch()
    async with asyncio.timeout(5):
        await waiting


async def test_what_is_there_already_needs_no_watch() -> None:
    assert await wait_until(lambda: 1, ["/nowhere"]) == 1


async def test_cancelling_leaves_nothing_behind(short_tmp: Path) -> None:
    missing: list[str] = []
    waiting = asyncio.ensure_future(wait_until(lambda: missing or None, [f"{short_tmp}/x"]))
    await turns()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_directory_that_goes_away_is_replaced_by_the_one_above(short_tmp: Path) -> None:
    (short_tmp / "a").mkdir()
    path = short_tmp / "a" / "file"
    waiting = asyncio.ensure_future(wait_until(lambda: True if os.path.exists(path) else None, [str(path)]))
    await turns()
    (short_tmp / "a").rmdir()
    await turns()
    (short_tmp / "a").mkdir()
    await turns()
    path.touch()
    async with asyncio.timeout(5):
        await waiting


def test_errors_of_the_kernel_become_os_errors(short_tmp: Path) -> None:
    (short_tmp / "file").touch()
    with DirectoryWatch() as watch, pytest.raises(NotADirectoryError):
        watch.add(f"{short_tmp}/file/x")


def test_who_holds_a_file_open(short_tmp: Path) -> None:
    path = short_tmp / "file"
    path.touch()
    assert holder_of(str(path)) is None
    with path.open():
        assert holder_of(str(path)) == f"pid {os.getpid()} (this process)"
    assert holder_of(f"{short_tmp}/none") is None


def test_the_remedy_for_a_file_of_another_user(short_tmp: Path) -> None:
    path = short_tmp / "file"
    path.touch(mode=0o600)
    assert "run as" in access_remedy(str(path))
    assert "may not be searched" in access_remedy(f"{path}/below")
