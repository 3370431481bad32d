"""Reads from the page cache, and the reader that waits in a thread for what is not there."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtagent.guest import file_reader, page_cache
from virtagent.guest.file_reader import FileReader, open_for_reading
from virtagent.guest.page_cache import CachedReads


@pytest.fixture
def cached_file(tmp_path: Path) -> Path:
    """A file in the page cache of a file system that can tell so."""
    path = tmp_path / "file"
    path.write_bytes(bytes(each % 251 for each in range(10_000)))
    with path.open("rb") as file:
        reads = CachedReads(file.fileno(), 100)
        reads.read(100, 0)
        if not reads.supported:
            pytest.skip("the file system of the temporary folder cannot tell what is in memory")
    return path


class NoThreads(Executor):
    """Fails whoever wants a thread."""

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        raise AssertionError("a thread was used")


def reader_of(path: Path, executor: Executor, *, offset: int = 0, length: int | None = None, chunk: int = 999) -> Any:
    descriptor = os.open(path, os.O_RDONLY)
    return FileReader(str(path), descriptor, offset=offset, length=length, chunk=chunk, executor=executor)


async def read_all(reader: Any) -> bytes:
    return b"".join([chunk async for chunk in reader])


async def test_what_is_in_memory_is_read_without_a_thread(cached_file: Path) -> None:
    data = cached_file.read_bytes()
    assert await read_all(reader_of(cached_file, NoThreads(), length=10_000)) == data
    assert await read_all(reader_of(cached_file, NoThreads(), offset=500, length=2000)) == data[500:2500]


async def test_the_end_is_believed_only_of_a_read_that_waits(cached_file: Path) -> None:
    """Linux 5.9 and 5.10 tell of an end where there is none."""
    with cached_file.open("rb") as file:
        assert CachedReads(file.fileno(), 64).read(64, 10_000) is None
    with ThreadPoolExecutor(1) as pool:
        assert await read_all(reader_of(cached_file, pool)) == cached_file.read_bytes()
        assert await read_all(reader_of(cached_file, pool, offset=20_000)) == b""


def test_a_read_gives_at_most_what_was_asked(cached_file: Path) -> None:
    with cached_file.open("rb") as file:
        reads = CachedReads(file.fileno(), 64)
        assert reads.read(10, 5) == cached_file.read_bytes()[5:15]
        assert reads.read(64, 9_990) == cached_file.read_bytes()[9_990:]


def test_what_was_read_does_not_change_with_the_next_read(cached_file: Path) -> None:
    with cached_file.open("rb") as file:
        reads = CachedReads(file.fileno(), 64)
        first = reads.read(64, 0)
        reads.read(64, 64)
        assert first == cached_file.read_bytes()[:64]


@pytest.mark.parametrize("path", ["/proc/version", "/proc/self/status"])
async def test_files_that_cannot_tell_are_read_in_a_thread(path: str) -> None:
    with open(path, "rb") as file:
        reads = CachedReads(file.fileno(), 64)
        assert reads.read(64, 0) is None
        assert not reads.supported
    with ThreadPoolExecutor(1) as pool:
        assert await read_all(reader_of(Path(path), pool))


async def test_without_preadv2_all_is_read_in_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_cache, "NOWAIT", 0)
    (tmp_path / "file").write_bytes(b"x" * 5000)
    with ThreadPoolExecutor(1) as pool:
        assert await read_all(reader_of(tmp_path / "file", pool)) == b"x" * 5000


class Sparse:
    """A page cache that holds what the test says: all of a read, a part of it, or nothing."""

    def __init__(self, found: list[float]) -> None:
        self.found = found
        self.descriptor = -1

    def __call__(self, descriptor: int, most: int) -> Sparse:
        self.descriptor = descriptor
        return self

    def read(self, size: int, offset: int) -> bytes | None:
        part = self.found.pop() if self.found else 0.0
        if not part:
            return None
        return os.pread(self.descriptor, max(1, int(size * part)), offset) or None


@settings(max_examples=60, deadline=None)
@given(
    found=st.lists(st.sampled_from([0.0, 0.3, 1.0]), max_size=20),
    offset=st.integers(0, 3500),
    length=st.none() | st.integers(0, 3500),
    chunk=st.integers(1, 900),
)
def test_the_bytes_are_the_same_whatever_is_in_memory(
    found: list[float], offset: int, length: int | None, chunk: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "sparse"
    data = bytes(each % 251 for each in range(3000))
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr(file_reader, "BATCH", 1000)
        patch.setattr(file_reader, "CachedReads", Sparse(found))
        read = asyncio.run(read_all(reader_of(path, pool, offset=offset, length=length, chunk=chunk)))
    assert read == data[offset : None if length is None else offset + length]


async def test_a_truncated_file_ends_where_it_ends(cached_file: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        reader = reader_of(cached_file, pool, chunk=4000)
        assert len(await anext(reader)) == 4000
        os.truncate(cached_file, 5000)
        assert len(await read_all(reader)) in (1000, 4000)  # the reader is a chunk ahead


async def test_holes_are_read_in_threads_since_reading_ahead_in_them_fills_memory_at_once(
    tmp_path: Path,
) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(b"begin")
        file.truncate(1 << 20)
    with ThreadPoolExecutor(1) as executor:
        reader = open_for_reading(str(path), offset=0, length=None, chunk=65536, executor=executor)
        assert reader._cached is None
        assert b"".join([chunk async for chunk in reader]) == path.read_bytes()
