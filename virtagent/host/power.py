"""``guest.power``: the stub of the service, and waiting until a guest has really gone, or is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec

from virtagent.api.power import Planned, Power
from virtagent.api.system import System
from virtagent.errors import DeadlineExceeded, PeerGone, UsageError, VirtagentError
from virtagent.host.delegate import Delegate
from virtagent.peer.caller import Caller
from virtagent.peer.peer import Peer
from virtagent.peer.state import PeerState
from virtagent.service.stub import stub

__all__ = ["Completion", "GuestPower"]

LOOK_DEADLINE = 5.0

Until = Literal["goodbye", "closed"]

if TYPE_CHECKING:
    _Base = Power
else:
    _Base = Delegate


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """How a guest went, as its channel shows it.

    Attributes:
        how: "closed": the channel ended; QEMU closes its sockets when it exits, so the machine is off. "rebooted": it
            is up again, in another boot. "goodbye": the agent has said goodbye and the guest is on its way; the
            machine may still run.
        reason: what the agent said: "shutdown" or "reboot"; "": it said nothing, as after a forced end.
        seconds: from the request to this.
        boot_id: of the boot that it is in now, if it rebooted.
    """

    how: Literal["closed", "rebooted", "goodbye"]
    reason: str = ""
    seconds: float = 0.0
    boot_id: str = ""


class GuestPower(_Base):
    """All methods of :class:`~virtagent.api.power.Power`, and those that wait for what they asked for."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub = stub(Power, caller)

    async def shutdown_and_wait(
        self,
        *,
        delay: float = 0.0,
        message: str = "",
        reason: str = "",
        force: bool = False,
        timeout: float = 120.0,
        until: Until = "closed",
    ) -> Completion:
        """Shut the guest down, and return when it has gone.

        What can be known of that is what its channel shows, see :class:`Completion`. A hypervisor that keeps the
        machine after its guest has gone (``-no-shutdown``, libvirt's ``on_poweroff`` "preserve") keeps the channel
        open, too: wait for the goodbye then, or ask the hypervisor.

        Args:
            delay, message, reason, force: as of :meth:`~virtagent.api.power.Power.shutdown`.
            timeout: seconds, beyond the delay.
            until: return at the agent's goodbye already, or when the channel has closed.

        Raises:
            DeadlineExceeded: the guest has not gone within the time; the message says how far it came.
            UsageError: this is a handle with options, which knows nothing of the channel.
        """
        asked = partial(self._stub.shutdown, delay=delay, message=message, reason=reason, force=force)
        return await self._and_wait(asked, delay + timeout, until=until)

    async def reboot_and_wait(
        self, *, delay: float = 0.0, message: str = "", reason: str = "", force: bool = False, timeout: float = 300.0
    ) -> Completion:
        """Reboot the guest, and return when its agent is up again, in another boot.

        Args:
            delay, message, reason, force: as of :meth:`~virtagent.api.power.Power.reboot`.
            timeout: seconds, beyond the delay.

        Raises:
            DeadlineExceeded: it is not back within the time; the message says how far it came.
            UsageError: this is a handle with options, which knows nothing of the channel.
        """
        asked = partial(self._stub.reboot, delay=delay, message=message, reason=reason, force=force)
        return await self._and_wait(asked, delay + timeout, until=None)

    async def _and_wait(
        self, ask: Callable[[], Awaitable[Planned]], timeout: float, *, until: Until | None
    ) -> Completion:
        peer, begun, reason = self._peer(), time.monotonic(), ""
        try:
            async with asyncio.timeout(timeout):
                before = (await stub(System, self._caller).info()).boot_id
                # Look from here on: the guest may be gone before its answer has been taken.
                states = aiter(peer.states())
                await anext(states)
                await ask()
                while True:
                    if isinstance(peer.last_loss, PeerGone):
                        reason = peer.last_loss.reason
                    how, boot_id = await self._look(peer, before, until, gone=bool(reason))
                    if how is not None:
                        seconds = round(time.monotonic() - begun, 3)
                        return Completion(how=how, reason=reason, seconds=seconds, boot_id=boot_id)
                    await anext(states)
        except TimeoutError as error:
            if isinstance(error, VirtagentError):
                raise
            said = f"it said goodbye ({reason})" if reason else "it did not say goodbye"
            raise DeadlineExceeded(f"the guest has not gone within {timeout:g} s: {said}; {peer.detail}") from None

    async def _look(
        self, peer: Peer, before: str, until: Until | None, *, gone: bool
    ) -> tuple[Literal["closed", "rebooted", "goodbye"] | None, str]:
        """What has become of it by now; None: nothing that was waited for."""
        if peer.state is PeerState.UP:
            try:
                # With a short deadline: if it goes right now, the call would wait for it to be back.
                boot_id = (await stub(System, peer.with_options(deadline=LOOK_DEADLINE)).info()).boot_id
            except VirtagentError:
                return None, ""  # it went meanwhile: another state comes
            return (None, "") if boot_id == before else ("rebooted", boot_id)
        if until == "goodbye" and gone:
            return "goodbye", ""
        if until is not None and peer.state is PeerState.NO_CHANNEL:
            return "closed", ""
        return None, ""

    def _peer(self) -> Peer:
        if isinstance(self._caller, Peer):
            return self._caller
        raise UsageError("wait with the guest itself: guest.power.shutdown_and_wait(), not guest.with_options(...)")
