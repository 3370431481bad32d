"""The manager of systemd over D-Bus (org.freedesktop.systemd1(5)): one connection, used by one call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus

from virtagent.errors import (
    Aborted,
    CallError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
    UnknownError,
)
from virtagent.guest.system_bus import Signals, connected_bus

__all__ = ["UNIT", "Manager"]

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = f"{NAME}.Manager"
UNIT = f"{NAME}.Unit"
PROPERTIES = "org.freedesktop.DBus.Properties"

_CLASSES: dict[str, type[CallError]] = {
    f"{NAME}.NoSuchUnit": NotFound,
    f"{NAME}.LoadFailed": NotFound,
    f"{NAME}.UnitMasked": FailedPrecondition,
    f"{NAME}.JobTypeNotApplicable": FailedPrecondition,
    f"{NAME}.OnlyByDependency": FailedPrecondition,
    f"{NAME}.NoIsolation": FailedPrecondition,
    f"{NAME}.ShuttingDown": Unavailable,
    f"{NAME}.TransactionIsDestructive": FailedPrecondition,
    f"{NAME}.TransactionJobsConflicting": FailedPrecondition,
    f"{NAME}.TransactionOrderIsCyclic": FailedPrecondition,
    "org.freedesktop.DBus.Error.AccessDenied": PermissionDenied,
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired": PermissionDenied,
    "org.freedesktop.DBus.Error.InvalidArgs": InvalidArgument,
    "org.freedesktop.DBus.Error.FileNotFound": NotFound,
    "org.freedesktop.DBus.Error.FileExists": FailedPrecondition,
    "org.freedesktop.DBus.Error.NoSuchUnit": NotFound,
    "org.freedesktop.DBus.Error.ServiceUnknown": Unavailable,
    "org.freedesktop.DBus.Error.NameHasNoOwner": Unavailable,
    "org.freedesktop.DBus.Error.NoReply": Unavailable,
    "org.freedesktop.DBus.Error.Disconnected": Unavailable,
    "org.freedesktop.DBus.Error.Spawn.ChildExited": Unavailable,
    "System.Error.ENOENT": NotFound,
}
"""What errors of D-Bus and systemd are here (dbus-daemon's, and src/libsystemd/sd-bus/bus-common-errors.h)."""


def _refusal(reply: Message) -> CallError:
    text = str(reply.body[0]) if reply.body else str(reply.error_name)
    cls = _CLASSES.get(reply.error_name or "", UnknownError)
    if cls is Unavailable:
        text = f"systemd does not answer: {text}"
    return cls(text, data={"dbus_error": reply.error_name})


class Manager:
    """systemd's manager.

    Args:
        bus: a connected bus.
    """

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus

    @classmethod
    @asynccontextmanager
    async def connected(cls, address: str | None = None) -> AsyncIterator[Manager]:
        """Connect, for as long as the block runs.

        Args:
            address: of the bus; None: the system bus.

        Raises:
            Unavailable: there is no bus.
        """
        async with connected_bus(address, "systemd cannot be reached over D-Bus") as bus:
            yield cls(bus)

    async def call(self, member: str, signature: str = "", *body: Any) -> list[Any]:
        """Call a method of the manager; its results.

        Raises:
            CallError: what systemd, or the bus, answered.
        """
        return await self._send(NAME, PATH, MANAGER, member, signature, list(body))

    async def properties(self, path: str) -> dict[str, Any]:
        """All properties of an object, of all its interfaces."""
        # With no interface named, sd-bus gives those of all (sd-bus's own extension; `systemctl show` does so, too).
        (found,) = await self._send(NAME, path, PROPERTIES, "GetAll", "s", [""])
        return {name: variant.value for name, variant in found.items()}

    @asynccontextmanager
    async def signals(self, *rules: str) -> AsyncIterator[Signals]:
        """Listen, for as long as the block runs, to what the rules match (D-Bus specification, match rules)."""
        signals = Signals(self._bus)
        try:
            for rule in rules:
                await self._send(
                    "org.freedesktop.DBus",
                    "/org/freedesktop/DBus",
                    "org.freedesktop.DBus",
                    "AddMatch",
                    "s",
                    [f"type='signal',sender='{NAME}',{rule}"],
                )
            # systemd sends no signals unless somebody asks for them; the subscription ends with the connection.
            await self.call("Subscribe")
            yield signals
        finally:
            signals.close()

    async def run_job(self, member: str, unit: str, mode: str) -> None:
        """Queue a job, and wait until systemd has done it.

        Raises:
            FailedPrecondition: it failed.
            Aborted: another job took its place.
            CallError: systemd refused it.
        """
        async with self.signals(f"path='{PATH}',interface='{MANAGER}',member='JobRemoved'") as signals:
            (job,) = await self.call(member, "ss", unit, mode)
            while True:
                message = await signals.next()
                if message.member == "JobRemoved" and message.body[1] == job:
                    return _judge(unit, message.body[3])

    async def _send(
        self, destination: str, path: str, interface: str, member: str, signature: str, body: list[Any]
    ) -> list[Any]:
        message = Message(
            destination=destination, path=path, interface=interface, member=member, signature=signature, body=body
        )
        try:
            reply = await self._bus.call(message)
        except (OSError, EOFError) as error:
            raise Unavailable(f"systemd did not answer: {str(error) or 'the connection to D-Bus was lost'}") from None
        if reply is None:
            raise Unavailable("systemd did not answer: the connection to D-Bus was lost; try again")
        if reply.message_type is MessageType.ERROR:
            raise _refusal(reply)
        return list(reply.body)


def _judge(unit: str, result: str) -> None:
    """Tell of a job that was not done (org.freedesktop.systemd1(5), JobRemoved)."""
    if result in ("done", "skipped"):
        return
    if result == "canceled":
        raise Aborted(f"{unit}: the job was cancelled by another one", data={"result": result})
    words = {
        "failed": "failed",
        "timeout": "did not finish in the time that its unit allows",
        "dependency": "was not tried: a unit that it depends on failed",
        "assert": "was not tried: an assertion of the unit does not hold",
        "unsupported": "is not supported here",
    }
    raise FailedPrecondition(f"{unit}: the job {words.get(result, f'ended as {result!r}')}", data={"result": result})
