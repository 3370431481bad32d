"""The service ``power``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from virtagent import __version__
from virtagent.api.agent import AgentEvents, Down, Up
from virtagent.api.power import (
    Delay,
    Planned,
    Power,
    PowerAbilities,
    PowerAction,
    Reason,
    SleepAction,
    Sleeping,
    WallMessage,
)
from virtagent.errors import (
    AlreadyExists,
    FailedPrecondition,
    PeerClosed,
    PermissionDenied,
    SessionLost,
    Unavailable,
    VirtagentError,
)
from virtagent.guest import facts
from virtagent.guest.down_reason import write_down_reason
from virtagent.guest.power_manager import Manager, find_manager, reboot_now, wall
from virtagent.guest.power_schedule import LogindSchedule
from virtagent.guest.power_sleep import ACTIONS, Sleeper, slept
from virtagent.guest.resources import GuestService, Resources
from virtagent.peer.context import Context
from virtagent.peer.peer import Peer
from virtagent.peer.state import PeerState
from virtagent.service.stub import stub

__all__ = ["PowerService"]

log = logging.getLogger("virtagent.power")

BREATH = 0.05
"""Seconds until the answer has been handed to the channel; it is queued when the handler has ended."""

ACKNOWLEDGED = 2.0
"""Seconds in which the host must have answered a ping that was sent after the answer; then it goes on without."""

SYNC_PATIENCE = 30.0
"""Seconds for writing to disk before a forced end: a disk that hangs is one reason to force it."""

FAREWELL = 3.0

_WORDS: dict[PowerAction, tuple[str, str]] = {
    "shutdown": ("shutdown", "the guest shuts down"),
    "reboot": ("reboot", "the guest reboots"),
    "halt": ("shutdown", "the guest halts"),
}
"""The reason that hosts are told, and the message."""


class PowerService(GuestService, Power):
    """Acts when the answer is with the host: a ping that follows it is answered.

    Args:
        resources: what services share.
        manager: shuts down in order; given anew for each call, as tools come and go.
        schedule: holds planned shutdowns, if it is there.
        sleeper: puts to sleep.
        force: ends everything at once (reboot(2)).
    """

    def __init__(
        self,
        resources: Resources | None = None,
        *,
        manager: Callable[[], Manager | None] = find_manager,
        schedule: LogindSchedule | None = None,
        sleeper: Sleeper | None = None,
        force: Callable[[PowerAction], None] = reboot_now,
    ) -> None:
        super().__init__(resources)
        self._manager = manager
        self._schedule = schedule or LogindSchedule()
        self._sleeper = sleeper or Sleeper()
        self._force = force
        self._planned: Planned | None = None
        self._timer: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy = ""
        self.resources.on_stop(lambda reason, message: self._drop())

    # -- what works, and what is planned -------------------------------------------------------------------------

    async def abilities(self) -> PowerAbilities:
        manager = self._manager()
        found = {each: await self._sleeper.ability(each) for each in ACTIONS}
        reasons = {each.replace("-", "_"): ability.reason for each, ability in found.items() if ability.reason}
        if manager is None:
            told = "there is neither systemd nor a tool such as shutdown or poweroff"
            reasons.update(dict.fromkeys(("shutdown", "reboot", "halt"), told))
        if not _may_reboot():
            reasons["force"] = "the agent has no CAP_SYS_BOOT"
        return PowerAbilities(
            manager="" if manager is None else manager.name,
            shutdown=manager is not None,
            reboot=manager is not None,
            halt=manager is not None,
            force=_may_reboot(),
            suspend=bool(found["suspend"].by),
            hibernate=bool(found["hibernate"].by),
            hybrid_sleep=bool(found["hybrid-sleep"].by),
            reasons=reasons,
            states=self._sleeper.states(),
        )

    async def pending(self) -> Planned | None:
        if self._planned is not None and self._timer is not None:
            return self._planned
        if not self._schedule.is_there:
            return None
        try:
            found = await self._schedule.pending()
        except Unavailable as error:
            log.debug("what is planned cannot be told: %s", error)
            return None
        if found is not None and self._planned is not None and found.action == self._planned.action:
            return replace(found, message=self._planned.message, reason=self._planned.reason)
        return found

    async def cancel(self) -> Planned | None:
        found = await self.pending()
        if found is None:
            self._planned = None
            return None
        if self._timer is not None:
            self._drop()
        elif not await self._schedule.cancel():
            found = None
        self._planned = None
        if found is not None:
            log.info("the planned %s was called off", found.action)
            if found.message and found.by != "systemd":  # logind tells its users itself
                self._spawn(wall(f"The planned {found.action} was called off."))
        return found

    def _drop(self) -> None:
        """A timer of the agent ends with it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._planned = None

    # -- shutting down -------------------------------------------------------------------------------------------

    async def shutdown(
        self,
        *,
        delay: Delay = 0.0,
        message: WallMessage = "",
        reason: Reason = "",
        force: bool = False,
        ctx: Context | None = None,
    ) -> Planned:
        return await self._begin("shutdown", delay, message, reason, force, ctx)

    async def reboot(
        self,
        *,
        delay: Delay = 0.0,
        message: WallMessage = "",
        reason: Reason = "",
        force: bool = False,
        ctx: Context | None = None,
    ) -> Planned:
        return await self._begin("reboot", delay, message, reason, force, ctx)

    async def halt(
        self,
        *,
        delay: Delay = 0.0,
        message: WallMessage = "",
        reason: Reason = "",
        force: bool = False,
        ctx: Context | None = None,
    ) -> Planned:
        return await self._begin("halt", delay, message, reason, force, ctx)

    async def _begin(
        self, action: PowerAction, delay: float, message: str, reason: str, force: bool, ctx: Context | None
    ) -> Planned:
        """Plan it, or have it done once the caller has the answer."""
        manager = self._manager()
        if force and not _may_reboot():
            raise PermissionDenied("the agent may not end the machine by force; it needs CAP_SYS_BOOT")
        if manager is None and not force:
            raise FailedPrecondition(
                "this guest has neither systemd nor a tool such as shutdown; force=true ends it by reboot(2)"
            )
        if self._busy:
            raise FailedPrecondition(f"the guest is about to {self._busy} already")
        planned = Planned(
            action=action,
            at=datetime.now(UTC) + timedelta(seconds=delay) if delay else None,
            message=message,
            reason=reason,
            by="kernel" if force or manager is None else manager.name,
            forced=force,
        )
        if delay:
            return await self._plan(planned, delay)
        self._busy = action
        log.info("%s: %s", _WORDS[action][1], reason or "a host asked for it")
        self._spawn(self._act(planned, manager, ctx))
        return planned

    async def _plan(self, planned: Planned, delay: float) -> Planned:
        other = await self.pending()
        if other is not None:
            raise AlreadyExists(f"a {other.action} is planned for {other.at} already; cancel it first")
        assert planned.at is not None
        if not planned.forced and self._schedule.is_there:
            await self._schedule.plan(planned.action, planned.at, planned.message or planned.reason)
            self._planned = replace(planned, by="systemd")
            return self._planned
        planned = replace(planned, by="agent")
        self._planned = planned
        self._timer = asyncio.get_running_loop().create_task(self._later(planned, delay), name="planned shutdown")
        return planned

    async def _later(self, planned: Planned, delay: float) -> None:
        if planned.message:
            told = f"The system will {planned.action} at {planned.at:%F %T} UTC.\n{planned.message}"
            self._spawn(wall(told))
        await asyncio.sleep(delay)
        self._timer, self._busy = None, planned.action
        self._spawn(self._act(planned, self._manager(), None))

    async def _act(self, planned: Planned, manager: Manager | None, ctx: Context | None) -> None:
        try:
            await _delivered(ctx)
            reason, message = _WORDS[planned.action]
            message = f"{message}: {planned.reason}" if planned.reason else message
            write_down_reason(reason, message)
            if planned.message and not planned.at:
                await wall(planned.message)
            error = "there is nothing that could do it"
            if planned.forced:
                error = await self._end_by_force(planned.action, reason, message)
            elif manager is not None:
                error = await manager.begin(planned.action, planned.message or planned.reason)
            if error:
                write_down_reason("", "")
                self._busy = ""
                log.error("the guest does not %s: %s", planned.action, error)
                self.resources.events.publish("power.failed", action=planned.action, reason=error)
        finally:
            self._planned = None

    async def _end_by_force(self, action: PowerAction, reason: str, message: str) -> str:
        """Tell hosts, write to disk, and go; why it could not be."""
        for peer in self._peers():
            with contextlib.suppress(SessionLost, PeerClosed):
                stub(AgentEvents, peer).down(Down(reason=reason, message=message))
        goodbyes = [asyncio.ensure_future(each.aclose(reason, message, drain=0.0)) for each in self._peers()]
        if goodbyes:
            await asyncio.wait(goodbyes, timeout=FAREWELL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SYNC_PATIENCE):
                await asyncio.to_thread(os.sync)
        try:
            self._force(action)
        except OSError as error:
            return f"reboot(2): {error.strerror or error}"
        return ""

    # -- sleeping ------------------------------------------------------------------------------------------------

    async def suspend(self, *, ctx: Context | None = None) -> Sleeping:
        return await self._fall_asleep("suspend", ctx)

    async def hibernate(self, *, ctx: Context | None = None) -> Sleeping:
        return await self._fall_asleep("hibernate", ctx)

    async def hybrid_sleep(self, *, ctx: Context | None = None) -> Sleeping:
        return await self._fall_asleep("hybrid-sleep", ctx)

    async def _fall_asleep(self, action: SleepAction, ctx: Context | None) -> Sleeping:
        if self._busy:
            raise FailedPrecondition(f"the guest is about to {self._busy} already")
        if self.resources.frozen:
            raise FailedPrecondition("filesystems are frozen: a machine that sleeps could not thaw them in time")
        self._busy = action
        try:
            ability = await self._sleeper.ability(action)
            if not ability.by:
                raise FailedPrecondition(f"the guest cannot {action.replace('-', ' ')}: {ability.reason}")
            if os.geteuid() != 0:
                raise PermissionDenied("the agent does not run as root, and may not put the guest to sleep")
        except BaseException:
            self._busy = ""
            raise
        self._spawn(self._sleep(action, ability.by, ctx))
        return Sleeping(action=action, by=ability.by)

    async def _sleep(self, action: SleepAction, by: str, ctx: Context | None) -> None:
        try:
            await _delivered(ctx)
            peers = self._peers()
            for peer in peers:
                with contextlib.suppress(SessionLost, PeerClosed):
                    stub(AgentEvents, peer).down(Down(reason="suspend", message=f"the guest goes to sleep: {action}"))
            await asyncio.gather(*map(_acknowledged, peers))
            if by == "kernel":  # of what systemd does, logind tells
                self.resources.events.publish("power.suspend")
            before = slept()
            error = await self._sleeper.sleep(action, by)
            if error:
                log.error("the guest does not %s: %s", action, error)
                self.resources.events.publish("power.failed", action=action, reason=error)
            elif by == "kernel":
                self.resources.events.publish("power.resume", slept=round(slept() - before, 3))
            self._welcome()
        finally:
            self._busy = ""

    def _welcome(self) -> None:
        """Hosts whose session outlived the sleep are told that it is over; others are greeted in a new one."""
        event = Up(version=__version__, boot_id=facts.boot_id(), time=facts.now(), reason="resume")
        for peer in self._peers():
            with contextlib.suppress(SessionLost, PeerClosed):
                stub(AgentEvents, peer).up(event)

    # -- within --------------------------------------------------------------------------------------------------

    def _peers(self) -> list[Peer]:
        """The hosts that have a session; a plain msgpack-RPC peer is told nothing."""
        return [
            peer
            for channel in self.resources.channels
            for peer in channel.peers
            if peer.state is PeerState.UP and peer.info is not None
        ]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="power")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("power", exc_info=error)


async def _delivered(ctx: Context | None) -> None:
    """Return when the host has the answer to this call, or does not tell."""
    await asyncio.sleep(BREATH)
    if ctx is not None:
        await _acknowledged(ctx.peer)


async def _acknowledged(peer: Peer) -> None:
    """What was sent before a ping has arrived when the ping is answered: a channel keeps the order."""
    with contextlib.suppress(VirtagentError):
        for _ in range(2):  # the first may be answered by a pong that was under way already
            await peer.ping(ACKNOWLEDGED / 2)


def _may_reboot() -> bool:
    """Whether this process has CAP_SYS_BOOT (capabilities(7))."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    except (OSError, StopIteration, ValueError):
        return os.geteuid() == 0
    return bool(effective >> 22 & 1)
