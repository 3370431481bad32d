"""Who is logged in, as systemd-logind knows it (org.freedesktop.login1(5))."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from virtagent.api.system import UserSession
from virtagent.errors import Unavailable
from virtagent.guest.login_bus import LOGIN, LoginBus

__all__ = ["list_sessions"]

PATIENCE = 15.0
"""Seconds for all of it."""

MOST = 1024
"""Sessions that are told of."""


async def list_sessions(address: str | None = None) -> list[UserSession]:
    """The sessions of users, without those that are closing.

    Args:
        address: of the bus; None: the system bus.

    Raises:
        Unavailable: there is no such bus, or nobody answers on it.
    """
    try:
        async with asyncio.timeout(PATIENCE), LoginBus.connected(address) as bus:
            (rows,) = await bus.manager("ListSessions")
            told = [await _session(bus, row[0], row[4]) for row in rows[:MOST]]
    except TimeoutError:
        raise Unavailable("systemd-logind does not answer: no answer in time") from None
    return [each for each in told if each is not None]


async def _session(bus: LoginBus, session: str, path: str) -> UserSession | None:
    """One session; None if it has gone since, or is no user's: a greeter, a lock screen, cron's in the background."""
    try:
        fields = await bus.properties(path, f"{LOGIN}.Session")
    except Unavailable:
        return None
    if not str(fields.get("Class", "user")).startswith("user") or fields.get("State") == "closing":
        return None
    micros = fields.get("Timestamp", 0)
    return UserSession(
        user=fields.get("Name", ""),
        since=datetime.fromtimestamp(micros / 1e6, UTC) if micros else None,
        terminal=fields.get("TTY") or fields.get("Display", ""),
        host=fields.get("RemoteHost", ""),
        session=session,
        seat=(fields.get("Seat") or [""])[0],
        kind=fields.get("Type", ""),
        pid=fields.get("Leader") or None,
        active=fields.get("Active"),
    )
