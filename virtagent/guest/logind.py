"""systemd-logind over D-Bus (org.freedesktop.login1(5)): who is logged in."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus

from virtagent.api.system import UserSession
from virtagent.errors import Unavailable

__all__ = ["list_sessions"]

NAME = "org.freedesktop.login1"
MANAGER = "/org/freedesktop/login1"
PATIENCE = 5.0
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
        async with asyncio.timeout(PATIENCE):
            bus = await MessageBus(address, BusType.SYSTEM).connect()
            try:
                (rows,) = await _call(bus, MANAGER, f"{NAME}.Manager", "ListSessions", "", [])
                told = [await _session(bus, row) for row in rows[:MOST]]
            finally:
                bus.disconnect()
    except (OSError, TimeoutError, EOFError) as error:
        raise Unavailable(f"systemd-logind does not answer: {error or 'no answer in time'}") from None
    return [each for each in told if each is not None]


async def _call(bus: MessageBus, path: str, interface: str, member: str, signature: str, body: list[Any]) -> Any:
    message = Message(destination=NAME, path=path, interface=interface, member=member, signature=signature, body=body)
    reply = await bus.call(message)
    if reply is None or reply.message_type is MessageType.ERROR:
        told = reply.body[0] if reply is not None and reply.body else "no answer"
        raise Unavailable(f"systemd-logind: {told}")
    return reply.body


async def _session(bus: MessageBus, row: list[Any]) -> UserSession | None:
    """One session; None if it has gone since, or is not one of a user (greeters, the lock screen, managers)."""
    session, _, user, seat, path = row
    try:
        (found,) = await _call(bus, path, "org.freedesktop.DBus.Properties", "GetAll", "s", [f"{NAME}.Session"])
    except Unavailable:
        return None
    fields = {name: variant.value for name, variant in found.items()}
    if not str(fields.get("Class", "user")).startswith("user") or fields.get("State") == "closing":
        return None
    micros = fields.get("Timestamp", 0)
    return UserSession(
        user=user,
        since=datetime.fromtimestamp(micros / 1e6, UTC) if micros else None,
        terminal=fields.get("TTY") or fields.get("Display", ""),
        host=fields.get("RemoteHost", ""),
        session=session,
        seat=seat,
        kind=fields.get("Type", ""),
        pid=fields.get("Leader") or None,
        active=fields.get("Active"),
    )
