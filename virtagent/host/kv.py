"""``guest.kv``: the stub of the service, and a watch that outlives sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from virtagent.api.kv import Kv, KvChange
from virtagent.errors import DeadlineExceeded, PeerClosed, SessionLost, Unavailable
from virtagent.host.delegate import Delegate
from virtagent.peer.caller import Caller
from virtagent.service.streams import TypedStream
from virtagent.service.stub import stub

__all__ = ["GuestKv"]

FIRST_RETRY, LONGEST_RETRY = 0.1, 5.0
"""Seconds until a watch that was lost is asked for again; each time twice as long."""

if TYPE_CHECKING:
    _Base = Kv
else:
    _Base = Delegate


class GuestKv(_Base):
    """All methods of :class:`~virtagent.api.kv.Kv`, and :meth:`follow`."""

    def __init__(self, caller: Caller) -> None:
        self._stub = stub(Kv, caller)

    async def follow(self, prefix: str = "") -> AsyncIterator[KvChange]:
        """What there is, and then each change, without end: :meth:`watch`, again after each loss of the session.

        After a loss the items begin anew with one of kind "reset": keys that are not told from there up to the next
        "ready" are gone. It ends when the guest's handle is closed.

        ::

            async for change in guest.kv.follow("web/"):
                print(change.kind, change.key, change.value)

        Args:
            prefix: only keys that begin with it.

        Raises:
            CallError: the guest refuses.
        """
        begun, retry = False, FIRST_RETRY
        while True:
            try:
                async with TypedStream.of(self._stub.watch(prefix)) as changes:
                    async for change in changes:
                        if begun and retry != FIRST_RETRY:
                            yield KvChange(kind="reset", version=change.version)
                        begun, retry = True, FIRST_RETRY
                        yield change
            except PeerClosed:
                return
            except (SessionLost, DeadlineExceeded, Unavailable):
                pass
            await asyncio.sleep(retry)
            retry = min(retry * 2, LONGEST_RETRY)
