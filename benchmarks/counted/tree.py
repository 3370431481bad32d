"""A copy of what is measured, compiled: nobody's edit may come between two runs whose difference is the result."""

from __future__ import annotations

import compileall
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["ROOT", "code_of", "copied_tree"]

ROOT = Path(__file__).resolve().parents[2]

MEASURED = ("virtagent", "transports")


@contextlib.contextmanager
def copied_tree(source: Path = ROOT) -> Iterator[Path]:
    """A directory with the packages of ``source`` and these benchmarks, all compiled; gone afterwards.

    Raises:
        FileNotFoundError: ``source`` is no checkout of this repository.
    """
    with tempfile.TemporaryDirectory(prefix="counted-tree-") as name:
        copy = Path(name)
        ignore = shutil.ignore_patterns("__pycache__", "results", "*.json")
        for package in MEASURED:
            shutil.copytree(source / package, copy / package, ignore=ignore)
        shutil.copytree(ROOT / "benchmarks", copy / "benchmarks", ignore=ignore)
        for shared in source.glob("*.so"):
            shutil.copy2(shared, copy)
        compileall.compile_dir(copy, quiet=2)
        yield copy


def code_of(tree: Path) -> str:
    """ "compiled" for a tree with extension modules (``make compiled``), else "interpreted"."""
    return "compiled" if any((tree / "virtagent").rglob("*.so")) else "interpreted"
