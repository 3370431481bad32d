"""The environment record that every result carries."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import msgspec

from virtagent.guest.environment import environment_here

__all__ = ["environment", "environment_differences"]

PACKAGES = ("virtagent", "msgpack", "msgspec", "uvloop", "pyserial-asyncio", "hdrhistogram", "numpy", "matplotlib")
"""Installed packages whose versions are told, loaded or not."""

COMPARED = (
    *("kernel", "machine", "virtualization", "cpu", "cpus", "usable_cpus"),
    *("python", "build", "compiled", "loop", "versions"),
)
"""Fields that must be equal for two results to be comparable without a warning."""


def environment(loop: str | None = None) -> dict[str, Any]:
    """This process's environment as plain JSON data.

    Args:
        loop: the event loop's name, such as "asyncio" or "uvloop"; None: the one that runs, "" outside of one.

    Returns:
        The fields of :class:`virtagent.api.bench.Environment`, with the versions of all packages that matter.
    """
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(environment_here(loop)))
    found["versions"] |= installed_versions()
    return found


def installed_versions() -> dict[str, str]:
    """The versions of the packages that matter and are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def environment_differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The fields in which two environments differ so that their numbers should not be compared."""
    return [name for name in COMPARED if old.get(name) != new.get(name)]
