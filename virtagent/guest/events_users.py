"""Events of users: logind's sessions, or utmp(5) where there is no logind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtagent.errors import Unavailable
from virtagent.guest.event_sources import Source
from virtagent.guest.utmp import UTMP, read_utmp

if TYPE_CHECKING:
    from virtagent.guest.login_bus import LoginBus

__all__ = ["watch_users"]

MOST_SESSIONS = 4096
"""Sessions that are remembered, so that their end can be told with their user."""


async def watch_users(source: Source, address: str | None = None, utmp: str = UTMP) -> None:
    """Publish ``user.*``.

    Args:
        source: what they are published through.
        address: of the bus; None: the system bus.
        utmp: the file that is watched where there is no logind.
    """
    from virtagent.guest.login_bus import LOGIN, MANAGER, MANAGER_PATH, LoginBus  # noqa: PLC0415 - loads dbus_fast

    try:
        async with LoginBus.connected(address) as bus:
            for member in ("SessionNew", "SessionRemoved"):
                await bus.listen(MANAGER_PATH, MANAGER, member)
            (rows,) = await bus.manager("ListSessions")
            sessions: dict[str, dict[str, Any]] = {}
            for row in rows[:MOST_SESSIONS]:
                await _remember(bus, sessions, row[0], row[4])
            source.ready()
            while True:
                message = await bus.next()
                if message.member == "SessionNew":
                    fields = await _remember(bus, sessions, *message.body[:2])
                    if fields is not None:
                        source.publish("user.login", **fields)
                elif message.member == "SessionRemoved" and message.body[0] in sessions:
                    source.publish("user.logout", **sessions.pop(message.body[0]))
    except Unavailable as error:
        if source.state == "running":
            raise
        no_logind = error.message
    await _watch_utmp(source, utmp, f"{LOGIN} does not answer ({no_logind})")


async def _remember(
    bus: LoginBus, sessions: dict[str, dict[str, Any]], session: str, path: str
) -> dict[str, Any] | None:
    """What there is to tell of a session; None if it is not one of a user: a greeter, the lock screen, a manager."""
    from virtagent.guest.login_bus import LOGIN  # noqa: PLC0415 - loaded by now

    if session in sessions or len(sessions) >= MOST_SESSIONS:
        return None
    try:
        found = await bus.properties(path, f"{LOGIN}.Session")
    except Unavailable:
        return None  # gone already
    if not str(found.get("Class", "user")).startswith("user"):
        return None
    seat = found.get("Seat")
    fields = {
        "user": found.get("Name"),
        "uid": (found.get("User") or [None])[0],
        "session": session,
        "terminal": found.get("TTY") or found.get("Display") or None,
        "host": found.get("RemoteHost") or None,
        "service": found.get("Service") or None,
        "seat": (seat[0] or None) if seat else None,
        "pid": found.get("Leader") or None,
    }
    sessions[session] = fields
    return fields


async def _watch_utmp(source: Source, path: str, why: str) -> None:
    from asyncinotify import Inotify, Mask  # noqa: PLC0415 - where there is no logind

    with Inotify() as inotify:
        try:
            inotify.add_watch(path, Mask.MODIFY | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.ATTRIB)
            known = _sessions(path)
        except OSError as error:
            raise Unavailable(f"{why}, and {path} cannot be watched: {error.strerror}") from None
        source.ready()
        async for event in inotify:
            if event.mask & (Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.IGNORED):
                raise OSError(f"{path} was replaced")
            before, known = known, _sessions(path)
            for key in before.keys() - known.keys():
                source.publish("user.logout", **before[key])
            for key in known.keys() - before.keys():
                source.publish("user.login", **known[key])


def _sessions(path: str) -> dict[tuple[str, str, int | None], dict[str, Any]]:
    return {
        (each.user, each.terminal, each.pid): {
            "user": each.user,
            "terminal": each.terminal or None,
            "host": each.host or None,
            "pid": each.pid,
        }
        for each in read_utmp(path)[:MOST_SESSIONS]
    }
