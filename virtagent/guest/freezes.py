"""The freezes that the agent holds, and the stream that each lives by."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from functools import partial

from virtagent.api.storage import Freeze, FreezeEnd, Thaw, ThawedFilesystem
from virtagent.errors import (
    Aborted,
    AlreadyExists,
    CallError,
    DeadlineExceeded,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from virtagent.guest.freeze_hooks import find_hooks
from virtagent.guest.freeze_lease import FreezeLease
from virtagent.guest.freeze_quiet import Quiet
from virtagent.guest.freeze_targets import choose_targets
from virtagent.guest.resources import Resources

__all__ = ["Freezes", "LeaseStream"]

MOST = 16
"""Leases at a time."""

REMEMBERED = 32
"""Leases whose end is remembered, for who asks for them later."""

TELL_EVERY = 10.0
"""Seconds between two items of a lease's stream, at most."""

_WORDS: dict[FreezeEnd, str] = {
    "thawed": "it was thawed",
    "released": "its stream ended, or its session was lost",
    "deadline": "its deadline passed",
    "forced": "somebody else thawed it",
    "agent": "the agent went",
    "keeper": "its watchdog process was killed",
    "failed": "it could not be had",
}


class Freezes:
    """All leases of the agent.

    Args:
        resources: what services share.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._quiet = Quiet()
        self._leases: dict[str, FreezeLease] = {}
        self._past: deque[tuple[str, FreezeEnd]] = deque(maxlen=REMEMBERED)
        self._choosing = asyncio.Lock()
        resources.on_stop(self._stop)
        resources.reports["freezes"] = self.states

    async def freeze(
        self, mountpoints: Sequence[str] | None, *, deadline: float, hooks: bool, who: str = ""
    ) -> LeaseStream:
        """Freeze; see :meth:`virtagent.api.storage.Storage.freeze`."""
        section = self._resources.configuration.storage
        async with self._choosing:  # else two at a time would both find a filesystem free
            if len(self._leases) >= MOST:
                raise ResourceExhausted(f"{MOST} freezes are held already; thaw one")
            targets = await asyncio.to_thread(choose_targets, mountpoints)
            for target in targets:
                for lease in self._leases.values():
                    if target.mount.mountpoint in lease.mountpoints or any(map(lease.is_of, target.devices)):
                        for each in targets:
                            each.close()
                        raise AlreadyExists(f"{target.mount.mountpoint} is frozen by the lease {lease.name} already")
            programs = await asyncio.to_thread(find_hooks, section.hooks) if hooks else []
            lease = FreezeLease(
                targets,
                hooks=programs,
                hook_timeout=section.hook_timeout,
                strict=mountpoints is not None,
                who=who,
                frozen=self._resources.frozen,
                quiet=self._quiet,
            )
            self._leases[lease.name] = lease
        lease.on_end = partial(self._ended, lease)
        await lease.hold(deadline)
        return LeaseStream(lease, deadline)

    def _ended(self, lease: FreezeLease) -> None:
        self._leases.pop(lease.name, None)
        self._past.append((lease.name, lease.ended))

    def find(self, name: str) -> FreezeLease:
        """The lease of this name.

        Raises:
            NotFound: there is none, or it has ended.
        """
        lease = self._leases.get(name)
        if lease is None:
            how = next((f" any more: {_WORDS[end]}" for past, end in self._past if past == name and end), "")
            raise NotFound(f"there is no freeze {name!r}{how}")
        return lease

    def states(self) -> list[Freeze]:
        """All that hold."""
        return [each.state() for each in self._leases.values()]

    async def thaw(self, name: str | None, mountpoints: Sequence[str] | None) -> Thaw:
        """End one lease in order, or all (of these mountpoints) by force."""
        if name is not None:
            chosen, why = [self.find(name)], "thawed"
        else:
            wanted = None if mountpoints is None else set(mountpoints)
            leases = list(self._leases.values())
            chosen = [each for each in leases if wanted is None or not wanted.isdisjoint(each.mountpoints)]
            why = "forced"
        await asyncio.gather(*(each.end("thawed" if why == "thawed" else "forced") for each in chosen))
        states = [each.state() for each in chosen]
        return Thaw(
            filesystems=[
                ThawedFilesystem(mountpoint=each.mountpoint, error=each.error)
                for state in states
                for each in reversed(state.filesystems)
                if each.status == "thawed"
            ],
            leases=states,
        )

    async def _stop(self, reason: str, message: str) -> None:
        """The agent goes. The watchdog processes would see to it, a moment later."""
        await asyncio.gather(*(each.end("agent") for each in list(self._leases.values())))


class LeaseStream(AsyncIterator[Freeze]):
    """A lease's states; closing it thaws.

    Args:
        lease: holds already.
        deadline: seconds that it was given; the state is told several times within them.
    """

    def __init__(self, lease: FreezeLease, deadline: float) -> None:
        self._lease = lease
        self._first = True
        self._last = False
        self._pause = min(TELL_EVERY, max(0.1, deadline / 4))

    async def __anext__(self) -> Freeze:
        """The state: at once, when it has changed, and from time to time.

        Raises:
            DeadlineExceeded: the lease's deadline has passed.
            Aborted: somebody else thawed it.
            Unavailable: the agent goes, or the watchdog process was killed.
        """
        lease = self._lease
        if self._last:
            self._raise()
        if not self._first and not lease.ended:
            try:
                async with asyncio.timeout(self._pause):
                    await lease.changed.wait()
            except TimeoutError:
                pass
        self._first = False
        lease.changed.clear()
        self._last = bool(lease.ended)
        return lease.state()

    def _raise(self) -> None:
        state = self._lease.state()
        if state.ended == "thawed":
            raise StopAsyncIteration
        kinds: dict[FreezeEnd, type[CallError]] = {"deadline": DeadlineExceeded, "forced": Aborted}
        raise kinds.get(state.ended, Unavailable)(f"the freeze has ended: {_WORDS[state.ended]}")

    async def aclose(self) -> None:
        """Thaw, unless that has been done."""
        if not self._lease.ended:
            await self._lease.end("released")
