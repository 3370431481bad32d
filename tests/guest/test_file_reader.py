"""Reading files of the guest."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtagent.errors import CallError, FailedPrecondition, InvalidArgument, NotFound
from virtagent.guest import file_reader
from virtagent.guest.file_reader import FileReader, open_for_reading
from virtagent.guest.files import FilesService


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


async def take(reader: AsyncIterator[bytes]) -> list[bytes]:
    return [chunk async for chunk in reader]


def opened(path: Path | str, executor: ThreadPoolExecutor, **options: int | None) -> FileReader:
    wanted: dict[str, int | None] = {"offset": 0, "length": None, "chunk": 65536, **options}
    return open_for_reading(str(path), executor=executor, **wanted)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(0, 3000),
    offset=st.integers(0, 3500),
    length=st.none() | st.integers(0, 3500),
    chunk=st.integers(1, 900),
)
def test_every_range_of_a_file_is_read_in_chunks_of_the_wanted_size(
    size: int, offset: int, length: int | None, chunk: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"file-{size}"
    data = bytes(each % 251 for each in range(size))
    path.write_bytes(data)
    before = file_reader.BATCH
    file_reader.BATCH = 1000
    try:
        with ThreadPoolExecutor(1) as pool:
            chunks = asyncio.run(take(opened(path, pool, offset=offset, length=length, chunk=chunk)))
    finally:
        file_reader.BATCH = before
    assert b"".join(chunks) == data[offset : None if length is None else offset + length]
    assert all(0 < len(each) <= chunk for each in chunks)
    assert all(len(each) == chunk for each in chunks[:-1])


async def test_a_file_that_says_it_is_empty_is_read(executor: ThreadPoolExecutor) -> None:
    assert os.stat("/proc/meminfo").st_size == 0
    assert b"".join(await take(opened("/proc/meminfo", executor))).startswith(b"MemTotal:")


async def test_a_pipe_gives_what_comes_until_its_writers_leave(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = opened(tmp_path / "fifo", executor)
    writer = os.open(tmp_path / "fifo", os.O_WRONLY)
    waiting = asyncio.ensure_future(anext(reader))
    os.write(writer, b"one")
    assert await waiting == b"one"
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    os.write(writer, b"two")
    assert await waiting == b"two"
    os.close(writer)
    assert await take(reader) == []


async def test_waiting_for_a_pipe_can_be_cancelled(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = opened(tmp_path / "fifo", executor)
    writer = os.open(tmp_path / "fifo", os.O_WRONLY)
    waiting = asyncio.ensure_future(anext(reader))
    while not reader._blocked:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    await reader.aclose()
    assert reader._descriptor == -1
    os.close(writer)


async def test_an_endless_device_is_read_as_far_as_wanted(executor: ThreadPoolExecutor) -> None:
    chunks = await take(opened("/dev/zero", executor, length=1_000_000))
    assert sum(map(len, chunks)) == 1_000_000


async def test_closing_while_a_thread_reads_closes_the_file_afterwards(executor: ThreadPoolExecutor) -> None:
    reader = opened("/dev/zero", executor)
    await anext(reader)
    await reader.aclose()
    ahead = reader._ahead
    if ahead is not None:
        await asyncio.wait([ahead])
        await asyncio.sleep(0)
    assert reader._descriptor == -1
    assert await take(reader) == []


async def test_a_reader_that_is_dropped_closes_its_file(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    (tmp_path / "file").write_bytes(b"x")
    reader = opened(tmp_path / "file", executor)
    descriptor = reader._descriptor
    del reader
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize(
    ("path", "offset", "error", "told"),
    [
        ("/nope", 0, NotFound, "/nope: No such file"),
        ("/etc/passwd/x", 0, NotFound, "Not a directory"),
        ("/etc", 0, FailedPrecondition, "is a directory"),
        ("etc", 0, InvalidArgument, "not absolute"),
        ("/a\0b", 0, InvalidArgument, "NUL"),
        ("/dev/zero", 5, FailedPrecondition, "no positions"),
        ("/" + "a" * 300, 0, InvalidArgument, "too long"),
    ],
)
def test_what_cannot_be_read_is_told_at_once(
    path: str, offset: int, error: type[CallError], told: str, executor: ThreadPoolExecutor
) -> None:
    with pytest.raises(error, match=told):
        opened(path, executor, offset=offset)


async def test_an_error_half_way_comes_after_what_was_read(executor: ThreadPoolExecutor) -> None:
    """/proc/self/mem cannot be read at 0: the kernel answers EIO."""
    with pytest.raises(CallError, match="/proc/self/mem: Input/output error"):
        await take(opened("/proc/self/mem", executor))


async def test_stat_tells_of_links_and_of_what_they_point_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    service = FilesService()
    followed = await service.stat(str(tmp_path / "link"))
    assert (followed.kind, followed.size, followed.target) == ("file", 5, None)
    link = await service.stat(str(tmp_path / "link"), follow=False)
    assert (link.kind, link.target) == ("link", "file")
    with pytest.raises(NotFound):
        await service.stat(str(tmp_path / "none"))


async def test_times_beyond_the_calendar_are_the_nearest_it_has(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.touch()
    os.utime(path, (0, -(2**31)))
    assert (await FilesService().stat(str(path))).modified.year == 1901
