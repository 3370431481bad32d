"""``guest.system``: the stub of the service, and what takes several calls: measuring the clock's drift, ending it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from virtagent.api.system import LONGEST_SLEW, ClockChange, System
from virtagent.errors import FailedPrecondition, UsageError
from virtagent.host.delegate import Delegate
from virtagent.host.drift import Drift, Exchange, drift_of
from virtagent.peer.caller import Caller
from virtagent.service.stub import stub

__all__ = ["GuestSystem", "Synchronized"]

SAMPLES = 8
MOST_SAMPLES = 1000

if TYPE_CHECKING:
    _Base = System
else:
    _Base = Delegate


class Synchronized(msgspec.Struct, frozen=True, kw_only=True):
    """What :meth:`GuestSystem.synchronize` did.

    Attributes:
        before: the drift that was found.
        change: what the guest did; None: nothing, as the drift was within its uncertainty.
        after: the drift afterwards; of a slew it is what it was, and goes away with time.
    """

    before: Drift
    change: ClockChange | None = None
    after: Drift | None = None


class GuestSystem(_Base):
    """All methods of :class:`~virtagent.api.system.System`, and some made of them."""

    def __init__(self, caller: Caller) -> None:
        self._stub = stub(System, caller)

    async def drift(self, samples: int = SAMPLES) -> Drift:
        """Measure how far the guest's clock is ahead of this machine's, over the channel.

        Args:
            samples: how often to ask; the fastest answer counts, since the least of it is waiting.

        Raises:
            UsageError: fewer than 1 or more than 1000 samples.
            FailedPrecondition: this machine's clock was set meanwhile, again and again.
        """
        if not 1 <= samples <= MOST_SAMPLES:
            raise UsageError(f"give 1 to {MOST_SAMPLES} samples, not {samples}")
        exchanges = [await self._exchange() for _ in range(samples)]
        found = drift_of(exchanges)
        if found is None:
            raise FailedPrecondition("this machine's own clock was set while the drift was measured; try again")
        return found

    async def _exchange(self) -> Exchange:
        sent, sent_realtime = time.monotonic_ns(), time.time_ns()
        told = await self._stub.time()
        return Exchange(sent, sent_realtime, told.realtime, time.monotonic_ns(), time.time_ns())

    async def synchronize(self, *, slew: bool = False, rtc: bool = True, samples: int = SAMPLES) -> Synchronized:
        """Set the guest's clock to this machine's, as exactly as the channel allows.

        Args:
            slew: let it run faster or slower instead of stepping it; at most 5 minutes, at 500 ppm.
            rtc: write the guest's hardware clock, too, if the clock is stepped.
            samples: see :meth:`drift`.

        Raises:
            UsageError: the drift is too large for a slew.
            PermissionDenied: the agent may not set the clock.
        """
        before = await self.drift(samples)
        if not before.is_significant:
            return Synchronized(before=before)
        if not slew:
            change = await self._stub.adjust_clock(-before.offset, rtc=rtc)
        elif abs(before.offset) > LONGEST_SLEW:
            raise UsageError(f"a drift of {abs(before.offset) / 1e9:.0f} s is too large for a slew; step the clock")
        else:
            change = await self._stub.slew_clock(-before.offset)
        return Synchronized(before=before, change=change, after=await self.drift(samples))
