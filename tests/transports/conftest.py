"""Fixtures of the transports' tests: no test leaves a descriptor or a child process behind."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .certificates import Authority

LOOPS = {"asyncio": asyncio.new_event_loop}
try:
    import uvloop
except ImportError:
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop
    uvloop.new_event_loop().close()  # libuv keeps a pipe for ever from its first loop on


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> object:
    """Each async test runs on asyncio's loop and on uvloop's."""
    return LOOPS


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A directory with a path short enough for Unix sockets."""
    path = tempfile.mkdtemp(prefix="va-")
    yield Path(path)
    shutil.rmtree(path)


def open_files() -> dict[str, str]:
    """The open descriptors of this process and what they are."""
    files = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            files[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
    return files


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Every test closes what it opens. (It encloses the event loop, so that the loop's own files do not count.)"""
    before = open_files()
    yield
    if open_files().keys() <= before.keys():
        return
    gc.collect()  # a cycle that only the collector breaks gives a ResourceWarning, which is an error too
    leaked = {fd: name for fd, name in open_files().items() if fd not in before}
    assert not leaked, f"left open: {leaked}"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A certificate authority of this test's own."""
    from .certificates import Authority

    return Authority(tmp_path)
