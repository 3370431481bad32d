"""A followed file gives all that is written to it, through rotation, truncation and absence, as `tail -F` does."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtagent.api.file_types import Followed
from virtagent.errors import FailedPrecondition, ResourceExhausted, Unavailable
from virtagent.guest import file_follow
from virtagent.guest.file_follow import FollowedFile
from virtagent.guest.files import FilesService

PATIENCE = 20.0


@pytest.fixture
def service() -> FilesService:
    return FilesService()


async def data(following: AsyncIterator[Followed], size: int) -> bytes:
    """So many bytes, with nothing else between them."""
    found = b""
    async with asyncio.timeout(PATIENCE):
        while len(found) < size:
            piece = await anext(following)
            assert piece.kind == "data"
            found += piece.data
    return found


async def kind(following: AsyncIterator[Followed]) -> str:
    async with asyncio.timeout(PATIENCE):
        return (await anext(following)).kind


async def close(following: AsyncIterator[Followed]) -> None:
    await following.aclose()  # type: ignore[attr-defined]


def append(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


async def test_the_last_lines_come_first_and_then_what_is_added(service: FilesService, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(20)))
    following = service.follow(str(path), lines=2)
    assert await data(following, 16) == b"line 18\nline 19\n"
    append(path, b"more\n")
    assert await data(following, 5) == b"more\n"
    append(path, b"and more\n")
    assert await data(following, 9) == b"and more\n"
    await close(following)


async def test_a_position_can_be_given_instead_of_lines(service: FilesService, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"0123456789")
    following = service.follow(str(path), offset=4)
    piece = await anext(following)
    assert (piece.offset, piece.data) == (4, b"456789")
    await close(following)
    following = service.follow(str(path), lines=None)
    assert await data(following, 10) == b"0123456789"
    await close(following)


async def test_a_rotated_log_is_read_to_its_end_and_then_the_new_one(service: FilesService, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    following = service.follow(str(path))
    assert await data(following, 4) == b"old\n"
    with path.open("ab") as writer:
        path.rename(tmp_path / "log.1")
        path.write_bytes(b"new\n")
        writer.write(b"late\n")
    found: list[Followed] = []
    async with asyncio.timeout(PATIENCE):
        while b"new\n" not in [piece.data for piece in found]:
            found.append(await anext(following))
    assert [(piece.kind, piece.data) for piece in found if piece.kind != "missing"] == [
        ("data", b"late\n"),
        ("rotated", b""),
        ("data", b"new\n"),
    ]
    await close(following)


async def test_a_truncated_file_is_read_from_its_begin(service: FilesService, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a long line\n")
    following = service.follow(str(path))
    assert await data(following, 12) == b"a long line\n"
    path.write_bytes(b"short\n")
    assert await kind(following) == "truncated"
    assert await data(following, 6) == b"short\n"
    await close(following)


async def test_a_file_that_is_not_there_is_waited_for(service: FilesService, tmp_path: Path) -> None:
    path = tmp_path / "later" / "log"
    following = service.follow(str(path))
    assert await kind(following) == "missing"
    path.parent.mkdir()
    path.write_bytes(b"here\n")
    assert await data(following, 5) == b"here\n"
    path.unlink()
    assert await kind(following) == "missing"
    path.write_bytes(b"again\n")
    assert await kind(following) == "rotated"
    assert await data(following, 6) == b"again\n"
    await close(following)


async def test_it_works_without_the_library_for_inotify(
    service: FilesService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "asyncinotify", None)
    monkeypatch.setattr(file_follow, "LOOK_AGAIN", 0.01)
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    following = service.follow(str(path))
    assert await data(following, 4) == b"one\n"
    append(path, b"two\n")
    assert await data(following, 4) == b"two\n"
    await close(following)


async def test_much_at_once_comes_whole(service: FilesService, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    following = service.follow(str(path))
    blob = os.urandom(3_000_000)
    append(path, blob)
    assert await data(following, len(blob)) == blob
    await close(following)


async def test_what_has_no_end_is_not_followed(service: FilesService, tmp_path: Path) -> None:
    for path in ("/dev/zero", str(tmp_path)):
        with pytest.raises(FailedPrecondition, match="is no regular file"):
            service.follow(path)


async def test_followers_end_when_the_agent_goes(service: FilesService, tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    following = service.follow(str(tmp_path / "log"))
    waiting = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0)
    await service.resources.stop("stop", "the agent stops")
    with pytest.raises(Unavailable, match="the agent stops"):
        async with asyncio.timeout(PATIENCE):
            await waiting


async def test_nothing_is_left_open(service: FilesService, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x\n")
    await close(service.follow(str(tmp_path / "log")))
    before = len(os.listdir("/proc/self/fd"))
    following = service.follow(str(tmp_path / "log"))
    await anext(following)
    waiting = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await close(following)
    assert len(os.listdir("/proc/self/fd")) == before
    assert isinstance(following, FollowedFile)
    assert following.closed
    with pytest.raises(StopAsyncIteration):
        await anext(following)


async def test_a_peer_has_no_more_watches_than_it_may(service: FilesService, tmp_path: Path) -> None:
    class Peer:
        pass

    class Context:
        peer = Peer()

    (tmp_path / "log").touch()
    grant = service.resources.grants.of(None)._replace(watches=2)
    service.resources.grants.of = lambda context: grant  # type: ignore[method-assign]
    open_ones = [service.follow(str(tmp_path / "log"), ctx=Context()) for _ in range(2)]  # type: ignore[arg-type]
    with pytest.raises(ResourceExhausted, match="2 files are watched or followed already"):
        service.follow(str(tmp_path / "log"), ctx=Context())  # type: ignore[arg-type]
    await close(open_ones.pop())
    open_ones.append(service.follow(str(tmp_path / "log"), ctx=Context()))  # type: ignore[arg-type]
    for each in open_ones:
        await close(each)


@settings(max_examples=80, deadline=None)
@given(
    text=st.lists(st.sampled_from([b"\n", b"a", b"bcd", b"\n\n"]), max_size=40).map(b"".join),
    lines=st.integers(0, 12),
    piece=st.integers(1, 9),
)
def test_the_last_lines_are_those_that_tail_takes(
    text: bytes, lines: int, piece: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(text)
    before, file_follow.PIECE = file_follow.PIECE, piece
    descriptor = os.open(path, os.O_RDONLY)
    try:
        start = file_follow._last_lines(descriptor, len(text), lines)
    finally:
        os.close(descriptor)
        file_follow.PIECE = before
    whole = text.split(b"\n")
    ends = [each + b"\n" for each in whole[:-1]] + ([whole[-1]] if whole[-1] else [])
    assert text[start:] == b"".join(ends[-lines:] if lines else [])
