"""Which filesystems are frozen at the moment, so that the agent does not touch them and hang."""

from __future__ import annotations

import os
from collections.abc import Callable

from virtagent.errors import FailedPrecondition

__all__ = ["Frozen"]


class Frozen:
    """The devices (``st_dev``) whose filesystems the agent froze; whoever is about to write asks first."""

    def __init__(self) -> None:
        self._devices: dict[int, str] = {}
        self._thawed: dict[str, Callable[[], object]] = {}

    def __bool__(self) -> bool:
        return bool(self._devices)

    def add(self, device: int, mountpoint: str) -> None:
        """A filesystem is about to be frozen."""
        self._devices[device] = mountpoint

    def discard(self, device: int) -> None:
        """It has been thawed."""
        if self._devices.pop(device, None) is not None:
            thawed, self._thawed = self._thawed, {}
            for callback in thawed.values():
                callback()

    def when_thawed(self, who: str, callback: Callable[[], object]) -> None:
        """Have something done once, after the next thaw of a filesystem; it may be called in any thread.

        Args:
            who: a name; each has one callback at a time.
            callback: it must neither block nor raise.
        """
        self._thawed[who] = callback

    def check(self, device: int) -> None:
        """Refuse to write to a frozen filesystem: it would hang until the thaw.

        Raises:
            FailedPrecondition: it is frozen.
        """
        if device in self._devices:
            raise FailedPrecondition(f"{self._devices[device]} is frozen; thaw it first, or wait for its lease to end")

    def check_path(self, path: str) -> None:
        """The same for a path, or for its folder where it does not exist yet.

        Raises:
            FailedPrecondition: it is on a frozen filesystem.
        """
        while self._devices:
            try:
                return self.check(os.stat(path).st_dev)
            except FileNotFoundError:
                folder = os.path.dirname(path)
                if folder in (path, ""):
                    return None
                path = folder
            except OSError:
                return None
        return None
