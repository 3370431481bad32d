"""How much memory something holds, as Python's allocators see it."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["traced_memory"]


@contextmanager
def traced_memory() -> Iterator[Callable[[], int]]:
    """Count while the block runs; gives a function that tells the bytes which are held more than at its begin."""
    gc.collect()
    tracemalloc.start()
    try:
        begin = tracemalloc.get_traced_memory()[0]
        yield lambda: tracemalloc.get_traced_memory()[0] - begin
    finally:
        tracemalloc.stop()
