"""A fork in a process with live peers: the child shares sockets with its parent and must not use them."""

from __future__ import annotations

import os

__all__ = ["generation"]

_forks = 0


def generation() -> int:
    """How often this process and its ancestors have forked in Python since this module was loaded."""
    return _forks


def _count_fork() -> None:
    global _forks  # noqa: PLW0603 - one process has one count
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)
