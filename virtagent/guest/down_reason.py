"""Why the agent is being stopped: is it only the agent, or does the machine shut down or reboot?

Asked in this order:

1. the file ``down-reason`` in the runtime directory (one word, written by the agent itself, an init script or people; a
   second line is a message for people);
2. systemd: is it stopping, and which of ``reboot.target``, ``poweroff.target``, ... has a job;
3. OpenRC and System V: the runlevel.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from virtagent.guest.runtime import down_reason_file
from virtagent.peer.identity import read_line

__all__ = ["down_message", "down_reason", "write_down_reason"]

STOP = "stop"

log = logging.getLogger("virtagent.power")

LONGEST_MESSAGE = 1024

COMMAND_TIMEOUT = 1.0
"""Seconds that a command may take: who stops us does not wait for ever."""

_WORD = re.compile(r"[a-z][a-z-]{0,31}")
_TARGETS = {
    "reboot.target": "reboot",
    "soft-reboot.target": "reboot",
    "kexec.target": "reboot",
    "poweroff.target": "shutdown",
    "halt.target": "shutdown",
}
_MODES = {"reboot": "reboot", "kexec": "reboot", "soft-reboot": "reboot", "poweroff": "shutdown", "halt": "shutdown"}
_RUNLEVELS = {"0": "shutdown", "6": "reboot"}

Run = Callable[..., str]


def run(*command: str) -> str:
    """What a command prints; "" if it cannot be run, or takes too long. Its exit code says nothing here."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout


def down_reason(*, run: Run = run, root: Path = Path("/"), file: Path | None = None) -> str:
    """ "shutdown", "reboot", another word from the file, or "stop" if only the agent is stopped. Blocks up to 3 s.

    Args:
        run: runs a command and gives what it prints.
        root: where /run is.
        file: the file with the word; None: in the runtime directory.
    """
    word = read_line(down_reason_file() if file is None else file)
    if _WORD.fullmatch(word):
        return word
    if (root / "run/systemd/system").is_dir():
        return _systemd(run, root)
    return _openrc(root) or _system_v(run) or STOP


def write_down_reason(word: str, message: str, *, file: Path | None = None) -> None:
    """Say beforehand why the agent is going to be stopped; "": take that back."""
    path = Path(down_reason_file()) if file is None else file
    try:
        if word:
            path.write_text(f"{word}\n{' '.join(message.split())}\n", encoding="utf-8", errors="replace")
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        log.info("%s: %s; hosts get a reason that is found out", path, error.strerror or error)


def down_message(*, file: Path | None = None) -> str:
    """What people are to be told of it: the file's second line; "" if nobody said."""
    try:
        text = (Path(down_reason_file()) if file is None else file).read_text(encoding="utf-8", errors="replace")
        lines = text[:LONGEST_MESSAGE].splitlines()
        return lines[1].strip() if len(lines) > 1 else ""
    except OSError:
        return ""


def _systemd(run: Run, root: Path) -> str:
    if run("systemctl", "is-system-running").strip() != "stopping":
        return STOP
    for line in run("systemctl", "list-jobs", "--plain", "--no-legend", "--no-pager").splitlines():
        for word in line.split():
            if word in _TARGETS:
                return _TARGETS[word]
    try:
        scheduled = (root / "run/systemd/shutdown/scheduled").read_text()
    except OSError:
        scheduled = ""
    for line in scheduled.splitlines():
        key, _, mode = line.partition("=")
        if key == "MODE" and mode in _MODES:
            return _MODES[mode]
    return "shutdown"


def _openrc(root: Path) -> str:
    level = read_line(root / "run/openrc/softlevel")
    if level == "shutdown" and os.environ.get("RC_REBOOT", "").upper() == "YES":
        return "reboot"
    return level if level in ("shutdown", "reboot") else ""


def _system_v(run: Run) -> str:
    level = os.environ.get("RUNLEVEL") or (run("runlevel").split() or [""])[-1]
    return _RUNLEVELS.get(level, "")
