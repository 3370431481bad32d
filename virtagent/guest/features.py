"""What the agent has beyond its core."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec

from virtagent.guest.environment import is_compiled

__all__ = ["features"]

OPTIONAL = ("asyncinotify", "dbus_fast", "opentelemetry", "pyroute2", "pyudev", "uvloop")
"""Modules that some methods need; what is missing answers ``Unavailable`` there."""


@lru_cache(maxsize=1)
def features() -> tuple[str, ...]:
    """The optional modules that are installed, without loading them; "compiled" where the hot modules are."""
    found = [name for name in OPTIONAL if find_spec(name) is not None]
    return (*(["compiled"] if is_compiled() else []), *found)
