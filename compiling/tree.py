"""A compiled copy of the checkout: the same files, and extension modules beside those that are listed.

They are never put into the checkout itself, where one that is out of date would hide what is edited.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from compiling.copying import follow
from compiling.extensions import build_extensions
from compiling.modules import listed_modules

__all__ = ["compiled_tree"]


def compiled_tree(checkout: Path, copy: Path) -> bool:
    """Bring ``copy`` up to date with ``checkout``, compiling only when something changed that the code depends on.

    C files and objects are in a directory beside it. Two processes that do this at once do it one after the other.
    When compiling fails, the copy has no extension modules, rather than old ones.

    Args:
        checkout: the directory with pyproject.toml.
        copy: where the copy is or shall be.

    Returns:
        True when it compiled.

    Raises:
        What :func:`compiling.extensions.build_extensions` raises.
    """
    work = copy.with_name(f"{copy.name}.work")
    work.mkdir(parents=True, exist_ok=True)
    stamp = work / "stamp"
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        follow(checkout, copy)
        wanted = fingerprint(copy)
        if stamp.is_file() and stamp.read_text() == wanted:
            return False
        print(f"compiling {len(listed_modules(copy))} modules ...", flush=True)
        stamp.unlink(missing_ok=True)
        for old in copy.rglob("*.so"):
            old.unlink()
        for place, made in build_extensions(copy, work).items():
            shutil.copy2(made, copy / place)
        stamp.write_text(wanted)
    return True


def fingerprint(tree: Path) -> str:
    """A digest of everything that the extension modules are made of, the tools included."""
    digest = hashlib.sha256()
    tools = [sys.version, sysconfig.get_config_var("CC"), *(metadata.version(name) for name in ("mypy", "setuptools"))]
    digest.update(repr([tools, listed_modules(tree)]).encode())
    for path in (tree / "compiling" / "extensions.py", tree / "compiling" / "mypy.ini", *sorted(seen_files(tree))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def seen_files(tree: Path) -> set[Path]:
    """The listed modules and all modules of ours that they import, anywhere in them: types go into the code as well."""
    seen: set[Path] = set()
    ahead = [tree / module for module in listed_modules(tree)]
    while ahead:
        path = ahead.pop()
        if path not in seen:
            seen.add(path)
            ahead += (found for name in imported(path, tree) if (found := source_of(name, tree)))
    return seen


def imported(path: Path, tree: Path) -> Iterator[str]:
    """The full names of all that a file imports, modules and names of modules alike."""
    package = list(path.relative_to(tree).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def source_of(name: str, tree: Path) -> Path | None:
    """The source file of a module of ours; None for everything else."""
    for root in (tree, tree / "transports"):
        path = root.joinpath(*name.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None
