"""A fork in a process with live peers: the child shares sockets with its parent and must not use them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["generation", "in_child"]

_forks = 0
_in_child: WeakKeyDictionary[Any, Callable[[Any], None]] = WeakKeyDictionary()


def generation() -> int:
    """How often this process and its ancestors have forked in Python since this module was loaded."""
    return _forks


def in_child(owner: Any, function: Callable[[Any], None]) -> None:
    """Have ``function(owner)`` called in every forked child, for as long as the owner lives."""
    _in_child[owner] = function


def _count_fork() -> None:
    global _forks  # noqa: PLW0603 - one process has one count
    _forks += 1
    for owner, function in list(_in_child.items()):
        function(owner)


os.register_at_fork(after_in_child=_count_fork)
