"""The system's D-Bus: connecting to it, and the signals that come over it, for systemd and for logind alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dbus_fast import BusType, InvalidAddressError, Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import AuthError

from virtagent.errors import Unavailable

__all__ = ["Signals", "connected_bus"]

PATIENCE = 10.0
"""Seconds until the bus must have let us in."""

MOST_SIGNALS = 4096
"""Signals that wait to be looked at; a sender of more, while one call waits, is left."""


@asynccontextmanager
async def connected_bus(
    address: str | None, trouble: str, *, negotiate_unix_fd: bool = False
) -> AsyncIterator[MessageBus]:
    """A connection, for as long as the block runs.

    Args:
        address: of the bus; None: the system bus.
        trouble: what it means if there is none, for people.
        negotiate_unix_fd: descriptors may come over it.

    Raises:
        Unavailable: there is no bus.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            bus = await MessageBus(address, BusType.SYSTEM, negotiate_unix_fd=negotiate_unix_fd).connect()
    except (OSError, TimeoutError, EOFError, AuthError, InvalidAddressError) as error:
        why = getattr(error, "strerror", None) or str(error) or "no answer in time"
        raise Unavailable(f"{trouble}: {why}") from None
    try:
        yield bus
    finally:
        bus.disconnect()


class Signals:
    """Signals that came over a bus, in their order.

    Args:
        bus: whose signals they are; when it is lost, so is whoever waits.
    """

    def __init__(self, bus: MessageBus) -> None:
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue(MOST_SIGNALS)
        self._bus = bus
        self._lost = asyncio.ensure_future(bus.wait_for_disconnect())  # type: ignore[no-untyped-call]
        self._lost.add_done_callback(self._end)
        bus.add_message_handler(self._take)

    def _take(self, message: Message) -> None:
        if message.message_type is MessageType.SIGNAL and not self._queue.full():
            self._queue.put_nowait(message)
            if self._queue.full():
                self._bus.disconnect()

    def _end(self, lost: asyncio.Future[None]) -> None:
        if not lost.cancelled():
            lost.exception()  # taken: what matters is that it ended
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def next(self) -> Message:
        """The next one.

        Raises:
            Unavailable: the bus was lost.
        """
        message = await self._queue.get()
        if message is None:
            raise Unavailable("systemd is not heard of any more: the connection to D-Bus was lost; try again")
        return message

    def close(self) -> None:
        """Listen no more."""
        self._bus.remove_message_handler(self._take)
        self._lost.cancel()
