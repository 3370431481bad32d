"""Signs of life for the service manager's watchdog (sd_watchdog_enabled(3)), given by the event loop itself.

A loop that hangs, and so serves nobody, gives none: the manager then ends the agent with SIGABRT, on which every
thread's stack is written to standard error, and starts it anew.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os

from virtagent.guest.notify_socket import notify_manager

__all__ = ["ManagerWatchdog", "watchdog_interval"]

log = logging.getLogger("virtagent.watchdog")

SHARE = 3
"""Signs of life in the time that the manager waits: one may come late, and one may be lost."""


def watchdog_interval() -> float | None:
    """Seconds between two signs of life, from ``WATCHDOG_USEC``; None: this process is not watched.

    A child of a watched process inherits the variables, but ``WATCHDOG_PID`` tells that it is not meant.
    """
    pid = os.environ.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return None
    try:
        microseconds = int(os.environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 1e6 / SHARE if microseconds > 0 else None


class ManagerWatchdog:
    """Tells the manager from the running loop, from now until :meth:`stop`; does nothing where nobody watches."""

    def __init__(self) -> None:
        self._interval = watchdog_interval()
        self._timer: asyncio.TimerHandle | None = None
        if self._interval is not None:
            faulthandler.enable()
            log.debug("the service manager gets a sign of life every %.1f s", self._interval)
            self._beat()

    def _beat(self) -> None:
        assert self._interval is not None
        notify_manager("WATCHDOG=1")
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._beat)

    def stop(self) -> None:
        """Tell no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
