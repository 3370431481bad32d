"""Which installed packages bring services, found without importlib.metadata and the 2 MiB that it loads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
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
            points = Path(each.path, "entry_points.txt")
            try:
                if SECTION in points.read_text("utf-8", "replace").splitlines():
                    yield points
            except OSError:
                continue
