"""Which installed packages bring services, found without importlib.metadata and the 2 MiB that it loads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["packages_with_services"]

SECTION = "[virtagent.services]"
"""The entry-point group as ``entry_points.txt`` of a package has it."""


def packages_with_services(path: list[str] | None = None) -> Iterator[Path]:
    """Installed packages that name services, found without importlib.metadata.

    Args:
        path: where packages are; None: ``sys.path``.
    """
    for place in sys.path if path is None else path:
        try:
            found = [each for each in os.scandir(place or ".") if each.name.endswith((".dist-info", ".egg-info"))]
        except OSError:
            continue
        for each in found:
            points = f"{each.path}/entry_points.txt"
            try:
                with open(points, encoding="utf-8", errors="replace") as file:
                    named = SECTION in file.read().splitlines()
            except OSError:
                continue
            if named:
                from pathlib import Path  # noqa: PLC0415 - most guests have no such package, and need no pathlib

                yield Path(points)
