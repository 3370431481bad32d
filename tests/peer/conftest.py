"""Fixtures of the peer's tests: virtual time unless a module says REAL_TIME, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from virtagent.testing import VirtualTimeLoop


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> object:
    if getattr(getattr(item, "module", None), "REAL_TIME", False):
        return {"asyncio": asyncio.new_event_loop}
    return {"virtual": VirtualTimeLoop}


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
        with contextlib.suppress(OSError):
            files[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return files


@pytest.fixture(autouse=True)
def no_open_files() -> Iterator[None]:
    """Every test closes what it opens (the event loop's own files lie within)."""
    before = open_files()
    yield
    if not open_files().keys() <= before.keys():
        gc.collect()
    leaked = {fd: name for fd, name in open_files().items() if fd not in before}
    assert not leaked, f"left open: {leaked}"


@pytest_asyncio.fixture(autouse=True)
async def no_tasks(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Every test ends its tasks, and no error is left to asyncio's last resort."""
    reported: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(str(context)))
    before = asyncio.all_tasks()
    yield
    for _ in range(5):  # ends that were scheduled come now
        await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() - before if not task.done() and task is not asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"
    assert not reported, f"asyncio reported: {reported}"
