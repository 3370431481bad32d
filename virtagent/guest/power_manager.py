"""What shuts this machine down: systemd, a tool of another init system, or the kernel itself."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from virtagent.api.power import PowerAction

__all__ = ["Manager", "find_manager", "reboot_now", "run_tool", "wall"]

log = logging.getLogger("virtagent.power")

PATIENCE = 60.0
"""Seconds in which a tool must have begun; sysvinit's comes back when it has told everyone."""

WALL_PATIENCE = 5.0

_SYSTEMD: Mapping[str, str] = {"shutdown": "poweroff", "reboot": "reboot", "halt": "halt"}
_SHUTDOWN: Mapping[str, str] = {"shutdown": "-P", "reboot": "-r", "halt": "-H"}
_OPENRC: Mapping[str, str] = {"shutdown": "--poweroff", "reboot": "--reboot", "halt": "--halt"}
_BARE: Mapping[str, str] = {"shutdown": "poweroff", "reboot": "reboot", "halt": "halt"}

_RESTART = {"shutdown": 0x4321FEDC, "reboot": 0x01234567, "halt": 0xCDEF0123}
"""LINUX_REBOOT_CMD_POWER_OFF, _RESTART and _HALT of linux/reboot.h."""


class Manager:
    """What shuts the machine down in order.

    Args:
        name: of the tool, or "systemd".
        commands: how it is called for each action.
        takes_message: it takes a text for its users as its last argument.

    Attributes:
        name: see above.
    """

    def __init__(
        self, name: str, commands: Mapping[PowerAction, Sequence[str]], *, takes_message: bool = False
    ) -> None:
        self.name = name
        self._commands = commands
        self._takes_message = takes_message

    def command(self, action: PowerAction, message: str) -> list[str]:
        """The command line."""
        return [*self._commands[action], *([message] if message and self._takes_message else [])]

    async def begin(self, action: PowerAction, message: str) -> str:
        """Begin it; why it could not be begun, "" if it was."""
        return await run_tool(*self.command(action, message))


def find_manager(root: Path = Path("/"), path: str | None = None) -> Manager | None:
    """What this machine has; None: nothing but the kernel.

    Args:
        root: where /run is.
        path: where tools are; None: ``$PATH`` and the usual places.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin" if path is None else path
    actions: tuple[PowerAction, ...] = ("shutdown", "reboot", "halt")
    if (root / "run/systemd/system").is_dir() and (tool := shutil.which("systemctl", path=path)):
        # -i: whoever may call this may also shut down while something inhibits it, as qemu-ga does
        return Manager("systemd", {each: (tool, "-i", "--no-block", "--no-wall", _SYSTEMD[each]) for each in actions})
    if (root / "run/openrc/softlevel").exists() and (tool := shutil.which("openrc-shutdown", path=path)):
        return Manager("openrc-shutdown", {each: (tool, _OPENRC[each], "now") for each in actions})
    if tool := shutil.which("shutdown", path=path):
        return Manager("shutdown", {each: (tool, _SHUTDOWN[each], "now") for each in actions}, takes_message=True)
    tools = {each: shutil.which(_BARE[each], path=path) for each in actions}
    found = {each: (tool,) for each, tool in tools.items() if tool}
    return Manager("poweroff", found) if len(found) == len(actions) else None


async def run_tool(*command: str, stdin: bytes = b"", patience: float = PATIENCE) -> str:
    """Run a tool; what went wrong, "" if nothing did. One that takes longer goes on, and is not waited for."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return f"{command[0]}: {error.strerror or error}"
    try:
        async with asyncio.timeout(patience):
            _, told = await process.communicate(stdin or None)
    except TimeoutError:
        return ""
    if process.returncode == 0:
        return ""
    lines = told.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"{command[0]} ended with the exit status {process.returncode}"


async def wall(message: str) -> None:
    """Tell users who are logged in; where there is no wall(1), nobody is told."""
    tool = shutil.which("wall", path=f"{os.environ.get('PATH', '')}:/usr/bin:/bin")
    if tool is not None:
        error = await run_tool(tool, stdin=message.encode(errors="replace") + b"\n", patience=WALL_PATIENCE)
        if error:
            log.info("users were not told: %s", error)


def reboot_now(action: PowerAction) -> None:
    """reboot(2): at once; nothing is stopped, and nothing is written to disk.

    Raises:
        OSError: this process may not (CAP_SYS_BOOT).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.reboot(ctypes.c_int(_RESTART[action] - (1 << 32) if _RESTART[action] >= 1 << 31 else _RESTART[action])) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
