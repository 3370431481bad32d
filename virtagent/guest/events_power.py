"""Events of power: what logind is about to do, delayed until the host knows (systemd's "Inhibitor Locks")."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from virtagent.errors import Unavailable
from virtagent.guest.event_sources import Source

if TYPE_CHECKING:
    from dbus_fast import Message

    from virtagent.guest.login_bus import LoginBus

__all__ = ["watch_power"]

PATIENCE = 2.0
"""Seconds that the machine waits for hosts that do not take the event; logind's own limit is 5 by default."""

SCHEDULED = 30.0
"""Seconds by which the time of a shutdown that was announced beforehand may be off."""

SYSTEMD = "org.freedesktop.systemd1"
SYSTEMD_PATH = "/org/freedesktop/systemd1"

TARGETS = {
    "poweroff.target": "power.shutdown",
    "halt.target": "power.shutdown",
    "reboot.target": "power.reboot",
    "kexec.target": "power.reboot",
    "soft-reboot.target": "power.reboot",
}
"""What systemd starts: only then is it certain which it is."""


async def watch_power(source: Source, address: str | None = None) -> None:
    """Publish ``power.*``.

    Args:
        source: what they are published through.
        address: of the bus; None: the system bus.
    """
    from virtagent.guest.login_bus import MANAGER, MANAGER_PATH, LoginBus  # noqa: PLC0415 - loads dbus_fast

    async with LoginBus.connected(address) as bus:
        for member in ("PrepareForShutdown", "PrepareForShutdownWithMetadata", "PrepareForSleep"):
            await bus.listen(MANAGER_PATH, MANAGER, member)
        watch = _PowerWatch(source, bus)
        try:
            await watch.lock()
            await _hear_of_targets(bus)
            source.ready()
            while True:
                await watch.take(await bus.next())
        finally:
            watch.unlock()


async def _hear_of_targets(bus: LoginBus) -> None:
    try:
        await bus.listen(SYSTEMD_PATH, f"{SYSTEMD}.Manager", "JobNew", sender=SYSTEMD)
        await bus.call(SYSTEMD, SYSTEMD_PATH, f"{SYSTEMD}.Manager", "Subscribe")
    except Unavailable:
        pass  # elogind, without systemd: what comes is told by the agent's own end


class _PowerWatch:
    """What logind says, and the lock that makes it wait for us."""

    def __init__(self, source: Source, bus: LoginBus) -> None:
        self._source = source
        self._bus = bus
        self._lock: int | None = None
        self._stopping = False
        self._slept = _slept()

    async def lock(self) -> None:
        """Have logind wait for us.

        Raises:
            Unavailable: it does not.
        """
        if self._lock is None:
            self._lock = await self._bus.inhibit("shutdown:sleep", "to tell the host")

    def unlock(self) -> None:
        """Let it go on."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def take(self, message: Message) -> None:
        """Understand a signal."""
        body = message.body
        if message.member == "PrepareForShutdownWithMetadata":
            await self._shutdown(body[0], body[1]["type"].value if "type" in body[1] else None)
        elif message.member == "PrepareForShutdown":
            await self._shutdown(body[0], None)
        elif message.member == "PrepareForSleep":
            await self._sleep(body[0])
        elif message.member == "JobNew" and body[2] in TARGETS:
            await self._tell(TARGETS[body[2]], unit=body[2])

    async def _shutdown(self, begins: bool, what: str | None) -> None:
        if begins == self._stopping:
            return  # the same, told in two ways
        self._stopping = begins
        if not begins:
            await self.lock()  # it was called off
            return
        # "power-off" is logind's word for what systemctl calls poweroff.
        what = (what or await self._scheduled() or "").replace("power-off", "poweroff")
        await self._tell("power.stopping", type=what or None)
        self.unlock()

    async def _scheduled(self) -> str | None:
        """What was announced for now by ``shutdown +5``."""
        from virtagent.guest.login_bus import MANAGER, MANAGER_PATH  # noqa: PLC0415 - loaded by now

        try:
            what, when = (await self._bus.properties(MANAGER_PATH, MANAGER)).get("ScheduledShutdown", ("", 0))
        except Unavailable:
            return None
        return what if what and abs(when / 1e6 - time.time()) < SCHEDULED else None

    async def _sleep(self, begins: bool) -> None:
        if begins:
            self._slept = _slept()
            await self._tell("power.suspend")
            self.unlock()
        else:
            self._source.publish("power.resume", slept=round(_slept() - self._slept, 3))
            await self.lock()

    async def _tell(self, kind: str, **fields: Any) -> None:
        number = self._source.publish(kind, **fields)
        await self._source.resources.events.delivered(number, PATIENCE)


def _slept() -> float:
    """Seconds that this machine has slept since boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
