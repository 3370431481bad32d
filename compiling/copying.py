"""A copy of the checkout that follows it: changed files are copied, those that are gone are removed."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = ["follow"]

COPIED = (
    *("virtagent", "transports", "benchmarks", "tests", "examples", "fuzz", "compiling", "bundling"),
    *("packaging", "schema"),
    *("pyproject.toml", "hatch_build.py", "Makefile", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"),
    *("LICENSE", ".ci", ".gitignore"),
)
"""What programs, tests and benchmarks need beside them."""

LINKED_DIRECTORIES = ("docs", "benchmarks/results", ".venv-peers", ".cache")
"""Directories that benchmarks and tests write into: what a run in the copy writes belongs to the checkout."""

LINKED_FILES = ("benchmarks/counted/baseline.json",)

PASSED_OVER = ("__pycache__", "results", "node_modules")


def follow(checkout: Path, copy: Path) -> None:
    """Make ``copy`` equal to ``checkout``, except for extension modules, which this leaves alone.

    Args:
        checkout: the directory with pyproject.toml.
        copy: a directory that this owns; made when it does not exist.
    """
    wanted = {source.relative_to(checkout) for source in sources(checkout)}
    present = {path.relative_to(copy) for path in files_below(copy)} if copy.is_dir() else set()
    for path in present - wanted:
        if path.suffix != ".so":
            (copy / path).unlink()
    for path in wanted:
        copy_file(checkout / path, copy / path)
    for name in LINKED_DIRECTORIES:
        (checkout / name).mkdir(exist_ok=True)
    for name in (*LINKED_DIRECTORIES, *LINKED_FILES):
        link(copy / name, checkout / name)
    # The one package that is not at the top of the checkout; an editable install finds it through a path entry.
    link(copy / "virtagent_transports", copy / "transports" / "virtagent_transports")


def sources(checkout: Path) -> Iterator[Path]:
    """The files to copy."""
    linked = {checkout / name for name in LINKED_FILES}
    for name in COPIED:
        path = checkout / name
        if path.is_file():
            yield path
        else:
            yield from (found for found in files_below(path) if found not in linked)


def files_below(directory: Path) -> Iterator[Path]:
    """All files, none through a link, nothing that is made by running."""
    for where, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if name not in PASSED_OVER]
        yield from (path for name in names if not (path := Path(where, name)).is_symlink())


def copy_file(source: Path, target: Path) -> None:
    """Copy what differs; under another name first, as somebody may be reading the old one."""
    if target.is_file() and filecmp.cmp(source, target, shallow=False):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.new")
    shutil.copy2(source, fresh)
    fresh.replace(target)


def link(path: Path, target: Path) -> None:
    """Make ``path`` a relative link to ``target``, in the place of a file of an earlier copy."""
    if path.is_symlink():
        return
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))
