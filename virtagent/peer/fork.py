"""A fork in a process with live peers: the child shares sockets with its parent and must not use them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from weakref import ref

__all__ = ["generation", "in_child"]

_forks = 0
_in_child: dict[ref[Any], Callable[[Any], None]] = {}
"""By owner; entries go with their owners. A WeakKeyDictionary would do the same in Python, for each peer."""


def generation() -> int:
    """How often this process and its ancestors have forked in Python since this module was loaded."""
    return _forks


def in_child(owner: Any, function: Callable[[Any], None]) -> None:
    """Have ``function(owner)`` called in every forked child, for as long as the owner lives."""
    _in_child[ref(owner, _in_child.pop)] = function


def _count_fork() -> None:
    global _forks  # noqa: PLW0603 - one process has one count
    _forks += 1
    for weak, function in list(_in_child.items()):
        owner = weak()
        if owner is not None:
            function(owner)


os.register_at_fork(after_in_child=_count_fork)
