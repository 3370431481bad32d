"""Putting this machine to sleep: through systemd, or by the kernel's own file (admin-guide/pm/sleep-states.rst)."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import NamedTuple

from virtagent.api.power import SleepAction
from virtagent.errors import Unavailable
from virtagent.guest.power_manager import run_tool

__all__ = ["ACTIONS", "SleepAbility", "Sleeper", "slept"]

ACTIONS: tuple[SleepAction, ...] = ("suspend", "hibernate", "hybrid-sleep")

_LOGIND = {"suspend": "CanSuspend", "hibernate": "CanHibernate", "hybrid-sleep": "CanHybridSleep"}
_TO_MEMORY = ("mem", "standby", "freeze")
"""What /sys/power/state may have for it, the deepest first."""

BEGUN = 30.0
"""Seconds in which systemd must have put the machine to sleep; what it stops before takes time."""

LOOK = 0.25


class SleepAbility(NamedTuple):
    """Whether it works, and who does it; or why not.

    Attributes:
        by: "systemd" or "kernel"; "": nobody.
        reason: why it does not work.
    """

    by: str
    reason: str = ""


def slept() -> float:
    """Seconds that this machine has slept since boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


class Sleeper:
    """Puts the machine to sleep.

    Args:
        root: where /run and /sys are.
        bus: address of the system bus; None: the usual one.
    """

    def __init__(self, root: Path = Path("/"), bus: str | None = None) -> None:
        self._root = root
        self._bus = bus

    @property
    def _systemd(self) -> bool:
        return (self._root / "run/systemd/system").is_dir() and shutil.which("systemctl") is not None

    def states(self) -> list[str]:
        """What the kernel offers."""
        return _words(self._root / "sys/power/state")

    async def ability(self, action: SleepAction) -> SleepAbility:
        """Whether it works here."""
        states = self.states()
        if not states:
            return SleepAbility("", "the kernel has no /sys/power/state: it was built without sleep")
        if action == "suspend" and not set(states) & set(_TO_MEMORY):
            return SleepAbility("", f"the machine offers {', '.join(states)} only")
        if action != "suspend" and "disk" not in states:
            return SleepAbility("", "the kernel cannot hibernate: it was built without it, or is locked down")
        if action == "hybrid-sleep" and "suspend" not in _words(self._root / "sys/power/disk"):
            return SleepAbility("", "the machine cannot suspend to memory after it was written to disk")
        if not self._systemd:
            if action != "suspend" and not _swap(self._root):
                return SleepAbility("", "there is no swap to write the memory to")
            return SleepAbility("kernel")
        answer = await self._ask_logind(action)
        if answer in ("yes", "challenge", ""):  # challenge: of others than root
            return SleepAbility("systemd")
        return SleepAbility("", "systemd-logind says that it does not work here (swap, firmware or sleep.conf)")

    async def _ask_logind(self, action: SleepAction) -> str:
        """ "" where it cannot be asked: then systemctl will say."""
        try:
            from virtagent.guest.login_bus import LoginBus  # noqa: PLC0415 - needs dbus_fast, which guests may lack

            async with LoginBus.connected(self._bus) as bus:
                (answer,) = await bus.manager(_LOGIND[action])
                return str(answer)
        except (ImportError, Unavailable):
            return ""

    async def sleep(self, action: SleepAction, by: str) -> str:
        """Sleep; returns after it, with why it did not sleep, "" if it did."""
        if by == "kernel":
            return await asyncio.to_thread(self._write, action)
        before = slept()
        error = await run_tool("systemctl", "-i", action)
        end = time.monotonic() + BEGUN
        # Nothing but logind's signal tells of it, for which a guest may lack the library; the clocks do anywhere.
        while not error and slept() - before < LOOK and time.monotonic() < end:  # noqa: ASYNC110 - as said above
            await asyncio.sleep(LOOK)
        return error

    def _write(self, action: SleepAction) -> str:
        """The write returns when the machine is awake again."""
        word = "disk"
        try:
            if action == "suspend":
                word = next(each for each in _TO_MEMORY if each in self.states())
            else:
                mode = "suspend" if action == "hybrid-sleep" else "platform"
                modes = _words(self._root / "sys/power/disk")
                (self._root / "sys/power/disk").write_text(mode if mode in modes else "shutdown")
            (self._root / "sys/power/state").write_text(word)
        except OSError as error:
            return f"/sys/power/state: {error.strerror or error}"
        return ""


def _words(file: Path) -> list[str]:
    """The words of a file of sysfs; the one that is chosen stands in brackets."""
    try:
        with file.open(encoding="ascii") as opened:
            return opened.read(4096).replace("[", "").replace("]", "").split()
    except (OSError, UnicodeDecodeError):
        return []


def _swap(root: Path) -> bool:
    try:
        return len((root / "proc/swaps").read_text(encoding="utf-8", errors="replace").splitlines()) > 1
    except OSError:
        return False
