"""What runs under callgrind: ``python -m benchmarks.growth.counting COUNT WORKLOAD...``; :mod:`work` starts it."""

from __future__ import annotations

import gc
import os
import sys

from benchmarks.growth.workloads import WORKLOADS

__all__ = ["count"]

SMALL = 8
"""How many of each are done first, so that what is made at first use is not counted."""


def count(names: list[str], x: int) -> None:
    """Do the workloads, each between two marks.

    Garbage is not collected meanwhile: when that happens depends on what was done before, and it is amortised.
    """
    for name in names:
        prepare = WORKLOADS[name]
        prepare(SMALL)()
        act = prepare(x)
        gc.collect()
        gc.disable()
        os.getloadavg()
        act()
        os.getloadavg()
        gc.enable()


if __name__ == "__main__":
    count(sys.argv[2:], int(sys.argv[1]))
