"""Copies between host and guest are whole or not there, and go on after a lost session."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import virtagent
from virtagent import Guest, PeerOptions
from virtagent.api.file_types import Entry
from virtagent.errors import AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted, SessionLost
from virtagent.guest.files import FilesService
from virtagent.host import trees
from virtagent.host.trees import compare

SIZE = 20_000_000


class Line:
    """A relay between host and guest that can be cut.

    Attributes:
        url: what the host connects to.
        cuts: how often it was cut.
    """

    def __init__(self, directory: Path) -> None:
        self.url = f"unix:{directory}/relay.sock"
        self.guest = f"{directory}/guest.sock"
        self.passed = 0
        self.cuts: list[int] = []
        self._writers: set[asyncio.StreamWriter] = set()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of the host."""
        there, back = await asyncio.open_unix_connection(self.guest)
        self._writers |= {writer, back}
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.passed += len(data)
                if self.cuts and self.passed >= self.cuts[0]:
                    self.cuts.pop(0)
                    for each in self._writers:
                        each.transport.abort()
                    self._writers.clear()
                    return
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def talking(directory: Path) -> AsyncIterator[tuple[Guest, Line]]:
    line = Line(directory)
    options = PeerOptions(first_retry=0.01, longest_retry=0.05)
    async with (
        virtagent.listen(f"unix:{line.guest}", services=[FilesService()]),
        await asyncio.start_unix_server(line.relay, f"{directory}/relay.sock"),
        virtagent.connect(line.url, options=options) as guest,
    ):
        yield guest, line


@pytest.fixture
async def guest(tmp_path: Path) -> AsyncIterator[Guest]:
    (tmp_path / "run").mkdir()
    async with talking(tmp_path / "run") as (made, _):
        yield made


@pytest.fixture
async def frail(tmp_path: Path) -> AsyncIterator[tuple[Guest, Line]]:
    (tmp_path / "run").mkdir()
    async with talking(tmp_path / "run") as made:
        yield made


@pytest.fixture
def data() -> bytes:
    return hashlib.sha256(b"seed").digest() * (SIZE // 32)


async def test_bytes_and_text_are_written_and_read(guest: Guest, tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    assert (await guest.files.write_text(path, "grün\n")).size == 6
    assert await guest.files.read_text(path) == "grün\n"
    await guest.files.write_bytes(path, b"\0\xff", mode=0o600)
    assert await guest.files.read_bytes(path) == b"\0\xff"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with pytest.raises(ResourceExhausted):
        await guest.files.read_bytes(path, limit=1)
    assert (await guest.files.stat(path)).size == 2


async def test_a_file_is_copied_there_and_back_with_mode_and_time(guest: Guest, tmp_path: Path, data: bytes) -> None:
    source, there, back = (tmp_path / each for each in ("source", "there", "back"))
    source.write_bytes(data)
    source.chmod(0o741)
    os.utime(source, ns=(5, 1_234_567_890_987_654_321))
    seen: list[tuple[int, int | None]] = []
    await guest.files.put(source, str(there), progress=lambda done, total: seen.append((done, total)))
    assert await guest.files.get(str(there), back) == len(data)
    for each in (there, back):
        assert each.read_bytes() == data
        assert stat.S_IMODE(each.stat().st_mode) == 0o741
        assert each.stat().st_mtime_ns == 1_234_567_890_987_654_321
    assert seen[0] == (0, len(data))
    assert seen[-1] == (len(data), len(data))
    assert sorted(os.listdir(tmp_path)) == ["back", "run", "source", "there"]


@pytest.mark.parametrize("cuts", [[5_000_000], [1_000_000, 6_000_000, 15_000_000], [19_999_000, 20_000_000]])
async def test_an_upload_goes_on_after_the_session_is_lost(
    frail: tuple[Guest, Line], tmp_path: Path, data: bytes, cuts: list[int]
) -> None:
    guest, line = frail
    (tmp_path / "source").write_bytes(data)
    line.cuts = [line.passed + each for each in cuts]
    begun: list[int] = []
    last = 0

    def progress(done: int, total: int | None) -> None:
        nonlocal last
        if done <= last:
            begun.append(done)
        last = done

    async with asyncio.timeout(30):
        written = await guest.files.put(tmp_path / "source", str(tmp_path / "there"), progress=progress)
    assert not line.cuts
    assert written.size == len(data)
    assert (tmp_path / "there").read_bytes() == data
    assert sorted(os.listdir(tmp_path)) == ["run", "source", "there"]
    if cuts == [5_000_000]:
        assert begun[0] == 0
        assert begun[-1] > 1_000_000, "it began anew"


async def test_a_file_that_was_there_already_is_not_sent_again_and_nothing_is_left(
    frail: tuple[Guest, Line], tmp_path: Path, data: bytes
) -> None:
    guest, line = frail
    (tmp_path / "source").write_bytes(data)
    await guest.files.put(tmp_path / "source", str(tmp_path / "there"))
    line.cuts = [line.passed + 5_000_000]
    before = line.passed
    assert (await guest.files.put(tmp_path / "source", str(tmp_path / "there"))).size == len(data)
    assert line.passed - before < 10_000_000
    assert sorted(os.listdir(tmp_path)) == ["run", "source", "there"]


async def test_bytes_in_memory_go_on_too(frail: tuple[Guest, Line], tmp_path: Path, data: bytes) -> None:
    guest, line = frail
    line.cuts = [line.passed + 7_000_000]
    await guest.files.put(data, str(tmp_path / "there"))
    assert (tmp_path / "there").read_bytes() == data


@pytest.mark.parametrize("cuts", [[5_000_000], [1_000_000, 6_000_000, 15_000_000]])
async def test_a_download_goes_on_after_the_session_is_lost(
    frail: tuple[Guest, Line], tmp_path: Path, data: bytes, cuts: list[int]
) -> None:
    guest, line = frail
    (tmp_path / "there").write_bytes(data)
    line.cuts = [line.passed + each for each in cuts]
    before = line.passed
    async with asyncio.timeout(30):
        await guest.files.get(str(tmp_path / "there"), tmp_path / "back")
    assert not line.cuts
    assert (tmp_path / "back").read_bytes() == data
    assert sorted(os.listdir(tmp_path)) == ["back", "run", "there"]
    assert line.passed - before < 1.6 * len(data), "it began anew"


async def test_a_file_that_was_replaced_meanwhile_is_read_anew(
    frail: tuple[Guest, Line], tmp_path: Path, data: bytes
) -> None:
    guest, line = frail
    there = tmp_path / "there"
    there.write_bytes(data)
    line.cuts = [line.passed + 5_000_000]
    replaced = False

    def progress(done: int, total: int | None) -> None:
        nonlocal replaced
        if not replaced:
            replaced = True
            (tmp_path / "new").write_bytes(data[::-1])
            (tmp_path / "new").rename(there)

    await guest.files.get(str(there), tmp_path / "back", progress=progress)
    assert (tmp_path / "back").read_bytes() == data[::-1]


async def test_a_guest_that_does_not_come_back_is_waited_for_no_longer_than_said(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "source").write_bytes(data)
    line = Line(tmp_path / "run")
    async with virtagent.listen(f"unix:{line.guest}", services=[FilesService()]):
        server = await asyncio.start_unix_server(line.relay, f"{tmp_path}/run/relay.sock")
        async with virtagent.connect(line.url) as guest:
            line.cuts = [line.passed + 5_000_000]
            server.close()
            with pytest.raises(SessionLost):
                await guest.files.put(tmp_path / "source", str(tmp_path / "there"), patience=0.2)


async def cancelled_half_way(copy: Callable[[Callable[[int, int | None], None]], Any]) -> None:
    half = asyncio.Event()

    def progress(done: int, total: int | None) -> None:
        if total is not None and done > 0:
            half.set()

    task = asyncio.ensure_future(copy(progress))
    await half.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nothing_is_left_of_copies_that_are_cancelled(guest: Guest, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "source").write_bytes(data * 5)
    there, back = str(tmp_path / "there"), tmp_path / "back"
    await cancelled_half_way(lambda progress: guest.files.put(tmp_path / "source", there, progress=progress))
    await cancelled_half_way(lambda progress: guest.files.get(str(tmp_path / "source"), back, progress=progress))
    assert sorted(os.listdir(tmp_path)) == ["run", "source"]


@pytest.mark.root
async def test_a_full_disk_is_told_and_nothing_is_left(
    guest: Guest, tmp_path: Path, data: bytes, small_disk: Path
) -> None:
    with pytest.raises(ResourceExhausted, match="No space left on device"):
        await guest.files.put(data, str(small_disk / "file"))
    assert os.listdir(small_disk) == []
    (tmp_path / "source").write_bytes(data)
    with pytest.raises(OSError, match="No space left"):
        await guest.files.get(str(tmp_path / "source"), small_disk / "file")
    assert os.listdir(small_disk) == []


async def test_what_must_not_be_replaced_is_not(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"old")
    with pytest.raises(AlreadyExists):
        await guest.files.put(b"new", str(tmp_path / "there"), replace=False)
    with pytest.raises(FileExistsError):
        await guest.files.get("/etc/passwd", tmp_path / "there", replace=False)
    with pytest.raises(IsADirectoryError):
        await guest.files.get("/etc/passwd", tmp_path)
    with pytest.raises(FailedPrecondition):
        await guest.files.get(str(tmp_path), tmp_path / "x")
    with pytest.raises(NotFound):
        await guest.files.get(str(tmp_path / "no"), tmp_path / "x")
    assert (tmp_path / "there").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["run", "there"]


async def test_special_files_are_copied_as_they_read(guest: Guest, tmp_path: Path) -> None:
    await guest.files.get("/proc/version", tmp_path / "version")
    assert (tmp_path / "version").read_bytes() == Path("/proc/version").read_bytes()


# -- trees -------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "a" / "b").mkdir(parents=True)
    for number in range(40):
        (top / "a" / f"file{number}").write_bytes(os.urandom(200_000))
    (top / "a" / "b" / "script").write_bytes(b"#!/bin/sh\n")
    (top / "a" / "b" / "script").chmod(0o755)
    (top / "link").symlink_to("a/file1")
    return top


def shape(top: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(each.relative_to(top)): (
            each.lstat().st_mode,
            os.readlink(each).encode() if each.is_symlink() else each.read_bytes() if each.is_file() else b"",
        )
        for each in top.rglob("*")
    }


async def test_a_tree_is_copied_there_and_back(guest: Guest, tmp_path: Path, tree: Path) -> None:
    seen: list[int] = []
    put = await guest.files.put_tree(tree, str(tmp_path / "there"), progress=lambda done, total: seen.append(done))
    assert put.files == len(shape(tree)) + 1
    assert seen == sorted(seen)
    got = await guest.files.get_tree(str(tmp_path / "there"), tmp_path / "back")
    assert got.files == put.files
    assert shape(tmp_path / "there") == shape(tree) == shape(tmp_path / "back")


async def test_a_tree_on_its_way_up_goes_on_with_what_is_left(
    frail: tuple[Guest, Line], tmp_path: Path, tree: Path
) -> None:
    guest, line = frail
    line.cuts = [line.passed + 5_000_000]
    before = line.passed
    await guest.files.put_tree(tree, str(tmp_path / "there"))
    assert not line.cuts
    assert shape(tmp_path / "there") == shape(tree)
    assert line.passed - before < 13_000_000, "everything was sent again"


async def test_a_tree_on_its_way_down_goes_on_with_what_is_left(
    frail: tuple[Guest, Line], tmp_path: Path, tree: Path
) -> None:
    guest, line = frail
    line.cuts = [line.passed + 5_000_000]
    before = line.passed
    await guest.files.get_tree(str(tree), tmp_path / "back")
    assert not line.cuts
    assert shape(tmp_path / "back") == shape(tree)
    assert line.passed - before < 13_000_000, "everything was sent again"


@pytest.mark.root
async def test_a_guest_gives_nobody_here_the_rights_of_another_user(guest: Guest, tmp_path: Path, tree: Path) -> None:
    (tree / "tool").write_bytes(b"#!/bin/sh")
    (tree / "tool").chmod(0o4755)
    got = await guest.files.get_tree(str(tree), tmp_path / "back", ownership=True, xattrs=True)
    assert (tmp_path / "back" / "tool").stat().st_mode & 0o7777 == 0o755
    assert any("tool: set-user-ID" in each for each in got.notes)
    await guest.files.get_tree(str(tree), tmp_path / "whole", ownership=True, privileges=True)
    assert (tmp_path / "whole" / "tool").stat().st_mode & 0o7777 == 0o4755
    os.mknod(tree / "disk", 0o600 | 0o060000, os.makedev(7, 0))
    with pytest.raises(PermissionError, match="disk: device nodes"):
        await guest.files.get_tree(str(tree), tmp_path / "third", ownership=True)
    assert not (tmp_path / "third" / "disk").exists()


async def test_a_listing_that_does_not_end_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        """A guest that tells of more files than it was asked for."""

        def bulk(self) -> Endless:
            return self

        async def tree(self, path: str, *, most: int) -> AsyncIterator[Entry]:
            for number in itertools.count():
                yield Entry(path=str(number))

    monkeypatch.setattr(trees, "MOST_ENTRIES", 100)
    with pytest.raises(ResourceExhausted, match="more than 100 files"):
        await trees.guest_entries(Endless(), "/")  # type: ignore[arg-type]


def test_what_differs_is_copied_and_what_is_not_there_is_deleted() -> None:
    def file(path: str, mtime: int = 1, size: int = 5, mode: int = 0o644) -> Entry:
        return Entry(path=path, kind="file", size=size, mtime=mtime, mode=mode)

    def directory(path: str) -> Entry:
        return Entry(path=path, kind="directory", mode=0o755)

    def link(path: str, target: str) -> Entry:
        return Entry(path=path, kind="link", target=target)

    def index(*entries: Entry) -> dict[str, Entry]:
        return {each.path: each for each in entries}

    source = index(directory("."), directory("a"), file("a/same"), file("a/new"), file("time", 2), link("l", "x"))
    target = index(
        directory("."), directory("a"), file("a/same"), file("time", 1), link("l", "y"), directory("z"), file("z/1")
    )
    assert compare(source, target) == (["a/new", "l", "time"], ["z/1", "z"], 10)
    assert compare(source, source) == ([], [], 0)
    clash = compare(index(directory("."), file("a")), index(directory("."), directory("a"), file("a/x")))
    assert clash == (["a"], ["a/x", "a"], 5)
    assert compare(index(file("m", mode=0o755)), index(file("m", mode=0o644))).copy == ["m"]
