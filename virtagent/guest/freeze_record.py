"""What the agent freezes is written down in its runtime directory: if it and the watchdog process are both killed
(``systemctl kill --signal=KILL``), the next agent thaws."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Sequence

from virtagent.guest.runtime import freezes_directory

__all__ = ["FreezeRecord", "thaw_what_is_left"]

log = logging.getLogger("virtagent.storage")

LARGEST = 1024 * 1024
HOOK_TIMEOUT = 30.0


class FreezeRecord:
    """The file of one freeze; /run is in memory, so that it can be written while disks are frozen.

    Args:
        name: of the lease.

    Attributes:
        path: the file; the watchdog process removes it at its end, if the agent cannot.
    """

    def __init__(self, name: str) -> None:
        self.path = os.path.join(freezes_directory(), name)

    def write(self, mountpoints: Sequence[str], hooks: Sequence[str], keeper: int) -> None:
        """Before it begins; a directory that cannot be written is no reason not to freeze."""
        try:
            os.makedirs(freezes_directory(), mode=0o700, exist_ok=True)
            with open(self.path, "w", encoding="ascii") as file:
                json.dump({"mountpoints": list(mountpoints), "hooks": list(hooks), "keeper": keeper}, file)
        except OSError as error:
            log.info("%s: %s; a freeze is not written down", self.path, error.strerror or error)

    def remove(self) -> None:
        """It has ended."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)


def thaw_what_is_left() -> list[str]:
    """Thaw what an earlier agent froze, and run the hooks, unless its watchdog process still does; the mountpoints.

    Blocks for as long as the hooks take.
    """
    found: list[str] = []
    try:
        names = sorted(os.listdir(freezes_directory()))
    except OSError:
        return found
    for name in names:
        path = os.path.join(freezes_directory(), name)
        try:
            with open(path, encoding="ascii") as file:
                record = json.loads(file.read(LARGEST))
            if not _is_keeper(int(record["keeper"])):
                found += _thaw([str(each) for each in record["mountpoints"]], [str(each) for each in record["hooks"]])
            else:
                continue
        except FileNotFoundError:
            continue  # its watchdog process has just ended
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: %s", path, error)
        with contextlib.suppress(OSError):
            os.unlink(path)
    return found


def _is_keeper(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"virtagent.guest.freeze_keeper" in file.read(65536)
    except OSError:
        return False


def _thaw(mountpoints: Sequence[str], hooks: Sequence[str]) -> list[str]:
    from virtagent.guest.freeze_keeper import run_hook, thaw  # noqa: PLC0415 - hardly ever needed

    thawed: list[str] = []
    for mountpoint in reversed(mountpoints):
        try:
            descriptor = os.open(mountpoint, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            thaw(descriptor)
            thawed.append(mountpoint)
        except OSError:
            pass  # it is not frozen
        finally:
            os.close(descriptor)
    for path in reversed(hooks):
        run_hook(path, "thaw", HOOK_TIMEOUT)
    return thawed
