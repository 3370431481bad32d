"""Which modules are compiled: the list in pyproject.toml, ``[tool.virtagent.compile]``."""

from __future__ import annotations

import tomllib
from pathlib import Path

__all__ = ["NoSuchModule", "listed_modules"]


class NoSuchModule(Exception):
    """A listed module has no source file."""


def listed_modules(root: Path) -> list[str]:
    """The source files to compile, relative to ``root``.

    Args:
        root: a checkout, an unpacked sdist, or a copy of one.

    Raises:
        NoSuchModule: a listed file does not exist.
    """
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    listed: list[str] = settings["tool"]["virtagent"]["compile"]["modules"]
    for module in listed:
        if not (root / module).is_file():
            raise NoSuchModule(f"{module} does not exist: mend [tool.virtagent.compile] in pyproject.toml")
    return listed
