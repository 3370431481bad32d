"""What measuring needs beyond the core, and what to do where it is missing. Imports none of it."""

from __future__ import annotations

from importlib.util import find_spec

from virtagent.errors import UsageError

__all__ = ["require"]

STATISTICS = {"hdrh": "hdrhistogram", "numpy": "numpy"}
PLOTS = {"matplotlib": "matplotlib"}
"""Modules, and the packages that bring them."""


def require(*, plots: bool) -> None:
    """See that everything is there.

    Raises:
        UsageError: something is missing; the message says how to get it.
    """
    wanted = STATISTICS | (PLOTS if plots else {})
    missing = [package for module, package in wanted.items() if not _is_there(module)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise UsageError(f"{' and '.join(missing)} {verb} missing; pip install 'virtagent[bench]'")


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # sys.modules holds None for it
        return False
