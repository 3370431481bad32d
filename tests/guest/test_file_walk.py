"""Whoever leaves a listing at any point leaves no directory open behind."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from virtagent.errors import CallError
from virtagent.guest import file_walk
from virtagent.guest.file_roots import EVERYWHERE
from virtagent.guest.file_walk import Filter, disk_use, glob, list_directory, tree

Listing = Callable[[str], Generator[Any, None, None]]


def whole_tree(path: str) -> Generator[Any, None, None]:
    return tree(EVERYWHERE, path, depth=10, most=1000, one_filesystem=False, wanted=Filter())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "file").write_bytes(b"x")
    (tmp_path / "d").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    "listing",
    [
        whole_tree,
        lambda path: glob(EVERYWHERE, f"{path}/**", most=1000),
        lambda path: glob(EVERYWHERE, f"{path}/**/*", most=1000),
        lambda path: disk_use(EVERYWHERE, path, depth=10, one_filesystem=True),
        lambda path: list_directory(EVERYWHERE, path),
    ],
    ids=["tree", "glob", "glob of names", "disk_use", "list"],
)
def test_a_listing_that_is_left_early_closes_every_directory(place: Path, listing: Listing) -> None:
    entries = len(list(listing(str(place))))
    before = len(os.listdir("/proc/self/fd"))
    for count in range(entries + 1):
        work = listing(str(place))
        assert len(list(itertools.islice(work, count))) == count
        work.close()
        assert len(os.listdir("/proc/self/fd")) == before, f"after {count} of {entries}"


def test_a_directory_that_cannot_be_read_any_more_is_an_error_of_the_call(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(directory: int) -> Generator[str, None, None]:
        yield from os.listdir(directory)
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(file_walk, "_names", fails)
    with pytest.raises(CallError, match="Too many open files"):
        list(whole_tree(str(place)))
