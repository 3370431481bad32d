"""As much of systemd-logind (and of systemd's announcements) as the agent listens to, on a real bus."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from virtagent.guest.events_power import SYSTEMD, SYSTEMD_PATH
from virtagent.guest.login_bus import LOGIN, MANAGER, MANAGER_PATH, PROPERTIES

__all__ = ["FakeLogind"]


class FakeLogind:
    """Sessions come and go as told; locks are pipes, as logind's are.

    Attributes:
        sessions: the properties of each.
        locks: the reading end of each lock that was given: its end is that of the lock.
        asked: what locks were asked for.
        scheduled: what ``shutdown +N`` announced, and when, in microseconds.
    """

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}
        self.locks: list[int] = []
        self.asked: list[list[Any]] = []
        self.scheduled: tuple[str, int] = ("", 0)

    async def start(self, address: str, *, systemd: bool = True) -> FakeLogind:
        """Take the names on a bus."""
        self.bus = await MessageBus(address, BusType.SYSTEM, negotiate_unix_fd=True).connect()
        self.bus.add_message_handler(self._answer)
        await self.bus.request_name(LOGIN)
        if systemd:
            await self.bus.request_name(SYSTEMD)
        return self

    def stop(self) -> None:
        """Go."""
        self.bus.disconnect()
        for each in self.locks:
            os.close(each)

    def log_in(self, session: str, user: str, uid: int = 1000, **more: Variant) -> None:
        """A session begins."""
        self.add(session, user, uid, **more)
        self._signal("SessionNew", "so", [session, path_of(session)])

    def add(self, session: str, user: str, uid: int = 1000, **more: Variant) -> None:
        """A session that is there."""
        self.sessions[session] = {
            "Name": Variant("s", user),
            "User": Variant("(uo)", [uid, f"/org/freedesktop/login1/user/_{uid}"]),
            "TTY": Variant("s", ""),
            "RemoteHost": Variant("s", ""),
            "Service": Variant("s", "sshd"),
            "Seat": Variant("(so)", ["", "/"]),
            "Leader": Variant("u", 4711),
            "Class": Variant("s", "user"),
            **more,
        }

    def log_out(self, session: str) -> None:
        """A session ends."""
        self.sessions.pop(session, None)
        self._signal("SessionRemoved", "so", [session, path_of(session)])

    def prepare(self, member: str, signature: str, body: list[Any]) -> None:
        """Announce something."""
        self._signal(member, signature, body)

    def queue_job(self, unit: str) -> None:
        """systemd queues a job."""
        self.bus.send(
            Message.new_signal(SYSTEMD_PATH, f"{SYSTEMD}.Manager", "JobNew", "uos", [1, "/org/freedesktop/job", unit])
        )

    async def released(self, number: int) -> None:
        """Wait until the lock of this number is given back."""
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self.locks[number], gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(self.locks[number])
        assert os.read(self.locks[number], 1) == b""

    def _signal(self, member: str, signature: str, body: list[Any]) -> None:
        self.bus.send(Message.new_signal(MANAGER_PATH, MANAGER, member, signature, body))

    def _answer(self, message: Message) -> Message | None:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        if message.interface == PROPERTIES and message.member == "GetAll":
            return self._properties(message)
        if message.interface == MANAGER and message.member == "ListSessions":
            rows = [[name, 1000, "u", "", path_of(name)] for name in self.sessions]
            return Message.new_method_return(message, "a(susso)", [rows])
        if message.interface == MANAGER and message.member == "Inhibit":
            reading, writing = os.pipe()
            self.locks.append(reading)
            self.asked.append(message.body)
            reply = Message.new_method_return(message, "h", [0], unix_fds=[writing])
            asyncio.get_running_loop().call_later(0.5, os.close, writing)  # sent by then
            return reply
        if message.member == "Subscribe":
            return Message.new_method_return(message)
        return None

    def _properties(self, message: Message) -> Message:
        if message.path == MANAGER_PATH:
            found = {"ScheduledShutdown": Variant("(st)", list(self.scheduled))}
            return Message.new_method_return(message, "a{sv}", [found])
        for name, properties in self.sessions.items():
            if path_of(name) == message.path:
                return Message.new_method_return(message, "a{sv}", [properties])
        return Message.new_error(message, "org.freedesktop.DBus.Error.UnknownObject", "no such session")


def path_of(session: str) -> str:
    """The path of a session's object."""
    return f"/org/freedesktop/login1/session/_{session}"
