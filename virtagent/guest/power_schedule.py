"""A shutdown that is planned: by systemd-logind, where it can be asked, else by a timer of the agent."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from virtagent.api.power import Planned, PowerAction

__all__ = ["LogindSchedule"]

_TYPES: dict[PowerAction, str] = {"shutdown": "poweroff", "reboot": "reboot", "halt": "halt"}
_ACTIONS: dict[str, PowerAction] = {"poweroff": "shutdown", "reboot": "reboot", "halt": "halt", "kexec": "reboot"}


class LogindSchedule:
    """org.freedesktop.login1(5), ScheduleShutdown: what ``shutdown +5`` uses, so that ``shutdown -c`` works as well.

    Args:
        root: where /run is.
        bus: address of the system bus; None: the usual one.
    """

    def __init__(self, root: Path = Path("/"), bus: str | None = None) -> None:
        self._root = root
        self._bus = bus

    @property
    def is_there(self) -> bool:
        """Whether there is one that can be asked."""
        return (self._root / "run/systemd/system").is_dir() and find_spec("dbus_fast") is not None

    def _connected(self) -> Any:
        from virtagent.guest.login_bus import LoginBus  # noqa: PLC0415 - loads dbus_fast

        return LoginBus.connected(self._bus)

    async def plan(self, action: PowerAction, at: datetime, message: str) -> None:
        """Plan it.

        Raises:
            Unavailable: logind does not take it.
        """
        async with self._connected() as bus:
            if message:
                await bus.manager("SetWallMessage", "sb", message, True)
            await bus.manager("ScheduleShutdown", "st", _TYPES[action], int(at.timestamp() * 1_000_000))

    async def pending(self) -> Planned | None:
        """What is planned, by whomever.

        Raises:
            Unavailable: logind does not say.
        """
        from virtagent.guest.login_bus import MANAGER, MANAGER_PATH  # noqa: PLC0415 - loads dbus_fast

        async with self._connected() as bus:
            found = await bus.properties(MANAGER_PATH, MANAGER)
        kind, when = found.get("ScheduledShutdown", ("", 0))
        action = _ACTIONS.get(str(kind).removeprefix("dry-"))
        if action is None or not 0 < when < 2**62:
            return None
        return Planned(
            action=action,
            at=datetime.fromtimestamp(when / 1_000_000, UTC),
            message=str(found.get("WallMessage", "")),
            by="systemd",
        )

    async def cancel(self) -> bool:
        """Call it off; whether there was one.

        Raises:
            Unavailable: logind does not.
        """
        async with self._connected() as bus:
            (cancelled,) = await bus.manager("CancelScheduledShutdown")
            return bool(cancelled)
