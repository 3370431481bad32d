"""The built wheel and its run-time dependencies, as files for the guest.

The dependencies are copied from the environment that runs the harness: no network, milliseconds, and the guest runs
exactly the versions the unit tests ran.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from .cpio import Tree
from .errors import HarnessError
from .interpreter import add_shared_libraries, compiled, stripped

_SKIPPED_SUFFIXES = {".pyc", ".pyi", ".pyx", ".pxd", ".c", ".h"}


def dependencies(wheel: Path, extras: Iterable[str]) -> list[metadata.Distribution]:
    """Return the installed distributions that `wheel` needs at run time, with their own dependencies."""
    with zipfile.ZipFile(wheel) as opened:
        name = next(name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        headers = HeaderParser().parsestr(opened.read(name).decode())
    found: dict[str, metadata.Distribution] = {}
    _collect(headers.get_all("Requires-Dist", []), tuple(extras), found)
    return list(found.values())


def add_packages(tree: Tree, wheel: Path, needed: Iterable[metadata.Distribution], site: str) -> None:
    """Unpack `wheel` and `needed` into the guest directory `site`; console scripts become commands in /usr/bin."""
    natives: list[Path] = []
    for distribution in needed:
        for file in distribution.files or ():
            path = Path(str(distribution.locate_file(file)))
            if ".." in file.parts or "__pycache__" in file.parts or path.suffix in _SKIPPED_SUFFIXES:
                continue
            if ".so" in path.suffixes:
                natives.append(path)
                tree.file(f"{site}/{file}", stripped(path), 0o755)
            else:
                _add(tree, f"{site}/{file}", path.read_bytes())
    add_shared_libraries(tree, natives)
    with zipfile.ZipFile(wheel) as opened:
        for name in opened.namelist():
            _add(tree, f"{site}/{name}", opened.read(name))
            if name.endswith(".dist-info/entry_points.txt"):
                _add_commands(tree, opened.read(name).decode())


def _collect(requirements: Iterable[str], extras: tuple[str, ...], found: dict[str, metadata.Distribution]) -> None:
    for text in requirements:
        requirement = Requirement(text)
        wanted = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        )
        if not wanted or requirement.name in found:
            continue
        distribution = _installed(requirement)
        found[requirement.name] = distribution
        _collect(distribution.requires or (), tuple(requirement.extras), found)


def _installed(requirement: Requirement) -> metadata.Distribution:
    try:
        distribution = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        raise HarnessError(f"the guest needs {requirement}: pip install '{requirement}' here first") from None
    if not requirement.specifier.contains(distribution.version, prereleases=True):
        raise HarnessError(f"the guest needs {requirement}, here is {distribution.version}: pip install it first")
    return distribution


def _add(tree: Tree, path: str, content: bytes) -> None:
    if path.endswith(".py"):
        tree.file(f"{path}c", compiled(content, path))
    elif not path.endswith("/"):
        tree.file(path, content)


def _add_commands(tree: Tree, entry_points: str) -> None:
    for name, module, attribute in _console_scripts(entry_points):
        script = f"#!/usr/bin/python3\nimport sys\nfrom {module} import {attribute}\nsys.exit({attribute}())\n"
        tree.file(f"/usr/bin/{name}", script.encode(), 0o755)


def _console_scripts(entry_points: str) -> Iterator[tuple[str, str, str]]:
    section = ""
    for line in map(str.strip, entry_points.splitlines()):
        if line.startswith("["):
            section = line.strip("[]")
        elif section == "console_scripts" and "=" in line:
            name, _, target = line.partition("=")
            module, _, attribute = target.strip().partition(":")
            yield name.strip(), module, attribute
