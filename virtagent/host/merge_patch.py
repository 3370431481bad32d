"""Applying JSON merge patches (RFC 7396) that a guest sends."""

from __future__ import annotations

from typing import Any

from virtagent.errors import ResourceExhausted

__all__ = ["apply_patch"]

DEEPEST = 16
MOST = 100_000
"""Objects in objects, and fields of all of them: what no sample has."""


def apply_patch(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """What the patch makes of the target, which stays as it is.

    Raises:
        ResourceExhausted: the result would be deeper or larger than anything that is meant.
    """
    found = _apply(target, patch, DEEPEST)
    if _count(found) > MOST:
        raise ResourceExhausted(f"the patches of the guest make an object of more than {MOST} fields")
    return found


def _apply(target: Any, patch: dict[str, Any], deeper: int) -> dict[str, Any]:
    if not deeper:
        raise ResourceExhausted(f"a patch of the guest is more than {DEEPEST} objects deep")
    found = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        elif isinstance(value, dict):
            found[name] = _apply(found.get(name), value, deeper - 1)
        else:
            found[name] = value
    return found


def _count(value: Any) -> int:
    return 1 + sum(map(_count, value.values())) if isinstance(value, dict) else 1
