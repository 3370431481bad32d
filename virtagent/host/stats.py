"""``guest.stats``: the stub of the service, and samples that never pile up."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from virtagent.api.stats import Group, Ranking, Sample, Stats
from virtagent.host.delegate import Delegate
from virtagent.host.merge_patch import apply_patch
from virtagent.peer.caller import Caller
from virtagent.service.annotation import converter
from virtagent.service.streams import TypedStream
from virtagent.service.stub import stub

__all__ = ["GuestStats"]

if TYPE_CHECKING:
    _Base = Stats
else:
    _Base = Delegate


class GuestStats(_Base):
    """All methods of :class:`~virtagent.api.stats.Stats`, and :meth:`follow`."""

    def __init__(self, caller: Caller) -> None:
        self._stub = stub(Stats, caller)

    async def follow(
        self,
        *,
        interval: float = 1.0,
        groups: Sequence[Group] | None = None,
        top: int = 10,
        by: Ranking = "cpu",
        changes_only: bool = False,
    ) -> AsyncIterator[Sample]:
        """Samples without end, none of them older than the reader is slow.

        ::

            async for sample in guest.stats.follow(interval=0.5, groups=["cpu", "memory"]):
                print(sample.cpu.percent)

        Args:
            interval: seconds, from 0.05 to a day.
            groups: what each sample shall hold; None: everything.
            top: how many processes.
            by: by what they are chosen.
            changes_only: let the guest send what has changed only, which slow lines want; samples are the same.

        Raises:
            Unavailable: the agent goes.
            CallError, SessionLost: as any stream.
        """
        receipts = secrets.token_hex(8)
        wanted = None if groups is None else list(groups)
        if changes_only:
            patches = self._stub.changes(interval=interval, groups=wanted, top=top, by=by, receipts=receipts)
            samples = reassembled(patches)
        else:
            samples = self._stub.watch(interval=interval, groups=wanted, top=top, by=by, receipts=receipts)
        async with TypedStream.of(samples) as stream:
            async for sample in stream:
                self._stub.took(receipts, sample.number)
                yield sample


async def reassembled(patches: AsyncIterator[Any]) -> AsyncIterator[Sample]:
    """The samples that a stream of patches is made of.

    Raises:
        ResourceExhausted: they grow beyond all bounds.
    """
    to_sample = converter(Sample)
    plain: dict[str, Any] = {}
    async with TypedStream.of(patches) as stream:
        async for each in stream:
            plain = apply_patch(plain, each.patch)
            yield to_sample(plain)
