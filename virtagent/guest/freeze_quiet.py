"""While a disk is frozen that the agent would write to by itself, it does not: neither its log nor compiled modules."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterable

__all__ = ["Quiet", "own_devices"]

PLACES = ("/", "/var", "/var/log", "/var/log/journal", "/run/log/journal")
"""Where the journal is, or a log that standard error goes to through it."""


def own_devices() -> set[int]:
    """The filesystems (``st_dev``) to which what the agent logs goes, or modules that it loads are compiled."""
    found = {os.path.dirname(os.path.abspath(each)) for each in (__file__, sys.executable, os.__file__)}
    devices: set[int] = set()
    for path in (*PLACES, *found):
        try:
            devices.add(os.stat(path).st_dev)
        except OSError:
            continue
    with contextlib.suppress(OSError):
        devices.add(os.fstat(2).st_dev)
    return devices


class Quiet:
    """Counts those who want quiet, and restores what was when the last one is through.

    The journal's service blocks at its own frozen disk, and then whoever writes to it, once its socket is full. Python
    writes a module that it loads as ``.pyc`` beside the source.
    """

    def __init__(self) -> None:
        self._holders: set[object] = set()
        self._before = (logging.NOTSET, False)

    def enter(self, holder: object, devices: Iterable[int]) -> None:
        """These are about to be frozen."""
        if holder in self._holders or own_devices().isdisjoint(devices):
            return
        if not self._holders:
            self._before = (logging.root.manager.disable, sys.dont_write_bytecode)
            logging.disable(logging.CRITICAL)
            sys.dont_write_bytecode = True
        self._holders.add(holder)

    def leave(self, holder: object) -> None:
        """They are thawed."""
        if holder in self._holders:
            self._holders.discard(holder)
            if not self._holders:
                logging.disable(self._before[0])
                sys.dont_write_bytecode = self._before[1]
