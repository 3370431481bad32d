"""What the agent keeps in its runtime directory, and what others may put there for it."""

from __future__ import annotations

import contextlib
import os

from virtagent.guest import facts
from virtagent.peer.identity import read_line

__all__ = [
    "down_reason_file",
    "freezes_directory",
    "freezes_left",
    "runtime_directory",
    "start_reason",
    "state_directory",
]

DIRECTORY = "/run/virtagent"
STATE_DIRECTORY = "/var/lib/virtagent"


def runtime_directory() -> str:
    """``$VIRTAGENT_RUNTIME_DIR``, by default /run/virtagent; it may not exist."""
    return os.environ.get("VIRTAGENT_RUNTIME_DIR") or DIRECTORY


def state_directory() -> str:
    """``$VIRTAGENT_STATE_DIR``, by default /var/lib/virtagent: what is to be there after a boot; it may not exist."""
    return os.environ.get("VIRTAGENT_STATE_DIR") or STATE_DIRECTORY


def down_reason_file() -> str:
    """Where an init system's script may write why the agent will be stopped: ``down-reason``, one word."""
    return os.path.join(runtime_directory(), "down-reason")


def freezes_directory() -> str:
    """Where freezes are written down while they last: one file each, in memory."""
    return os.path.join(runtime_directory(), "freezes")


def freezes_left() -> bool:
    """Whether an earlier agent may have left filesystems frozen."""
    try:
        return bool(os.listdir(freezes_directory()))
    except OSError:
        return False


def start_reason() -> str:
    """Why this agent starts: "boot" if it is the first one in this boot, else "restart". Asked once, at the start.

    What is left of an earlier stop (``down-reason``) is taken away: the machine did not go down.
    """
    directory = runtime_directory()
    seen = os.path.join(directory, "boot-id")
    boot = facts.boot_id()
    again = bool(boot) and read_line(seen) == boot
    with contextlib.suppress(OSError):
        os.makedirs(directory, mode=0o755, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(down_reason_file())
        with open(seen, "w", encoding="ascii") as file:
            file.write(f"{boot}\n")
    return "restart" if again else "boot"
