"""systemd-logind (or elogind) heard over D-Bus (org.freedesktop.login1(5)): its signals, its sessions, its locks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus

from virtagent.errors import Unavailable
from virtagent.guest.system_bus import Signals, connected_bus

__all__ = ["LOGIN", "LoginBus"]

LOGIN = "org.freedesktop.login1"
MANAGER_PATH = "/org/freedesktop/login1"
MANAGER = f"{LOGIN}.Manager"
DBUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
PROPERTIES = "org.freedesktop.DBus.Properties"

PATIENCE = 10.0
"""Seconds for an answer."""


class LoginBus:
    """A connection to the system bus, and the signals that come over it.

    Args:
        bus: a connected bus.
    """

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self._signals = Signals(bus)

    @classmethod
    @asynccontextmanager
    async def connected(cls, address: str | None = None) -> AsyncIterator[LoginBus]:
        """Connect, for as long as the block runs.

        Args:
            address: of the bus; None: the system bus.

        Raises:
            Unavailable: there is no bus.
        """
        async with connected_bus(address, "there is no D-Bus here", negotiate_unix_fd=True) as bus:
            made = cls(bus)
            try:
                yield made
            finally:
                made._signals.close()

    async def listen(self, path: str, interface: str, member: str, sender: str = LOGIN) -> None:
        """From now on hear a signal."""
        rule = f"type='signal',sender='{sender}',path='{path}',interface='{interface}',member='{member}'"
        await self.call(*DBUS, "AddMatch", "s", rule)

    async def call(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", *body: Any
    ) -> list[Any]:
        """Call a method; its results.

        Raises:
            Unavailable: it was answered with an error, or not at all.
        """
        reply = await self._call(destination, path, interface, member, signature, list(body))
        return list(reply.body)

    async def manager(self, member: str, signature: str = "", *body: Any) -> list[Any]:
        """Call a method of logind's manager."""
        return await self.call(LOGIN, MANAGER_PATH, MANAGER, member, signature, *body)

    async def properties(self, path: str, interface: str) -> dict[str, Any]:
        """The properties of an object of logind."""
        (found,) = await self.call(LOGIN, path, PROPERTIES, "GetAll", "s", interface)
        return {name: variant.value for name, variant in found.items()}

    async def inhibit(self, what: str, why: str) -> int:
        """Take a lock that delays what is named, until the descriptor that is returned is closed.

        Raises:
            Unavailable: logind gives none.
        """
        body = [what, "virtagent", why, "delay"]
        reply = await self._call(LOGIN, MANAGER_PATH, MANAGER, "Inhibit", "ssss", body)
        descriptors = reply.unix_fds
        if not descriptors:
            raise Unavailable("systemd-logind gave no lock")
        for surplus in descriptors[1:]:
            os.close(surplus)
        return descriptors[0]

    async def next(self) -> Message:
        """The next signal.

        Raises:
            Unavailable: the bus was lost.
        """
        return await self._signals.next()

    async def _call(
        self, destination: str, path: str, interface: str, member: str, signature: str, body: list[Any]
    ) -> Message:
        message = Message(
            destination=destination, path=path, interface=interface, member=member, signature=signature, body=body
        )
        try:
            async with asyncio.timeout(PATIENCE):
                reply = await self._bus.call(message)
        except (OSError, EOFError, TimeoutError) as error:
            raise Unavailable(f"{destination} does not answer: {str(error) or 'no answer in time'}") from None
        if reply is None:
            raise Unavailable(f"{destination} does not answer: the connection to D-Bus was lost")
        if reply.message_type is MessageType.ERROR:
            raise Unavailable(f"{destination}: {reply.body[0] if reply.body else reply.error_name}")
        return reply
