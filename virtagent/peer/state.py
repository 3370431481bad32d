"""The states of a peer that a person can tell apart (docs/protocol.md, section K)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from enum import Enum

from virtagent.peer.waking import wake

__all__ = ["PeerState", "StateCell"]


class PeerState(Enum):
    """Where a peer is."""

    NO_CHANNEL = "no channel"
    NOBODY_ANSWERS = "nobody answers"
    UP = "up"
    SILENT = "silent"
    GONE = "gone"
    CLOSED = "closed"


class StateCell:
    """A peer's state, and those who wait for it to change.

    Attributes:
        state: the state now.
        detail: one line for people: why it is so.
    """

    def __init__(self) -> None:
        self.state = PeerState.NO_CHANNEL
        self.detail = "not connected yet"
        self._waiters: set[asyncio.Future[None]] = set()

    def set(self, state: PeerState, detail: str, *, at_once: bool = False) -> None:
        """Change the state, and wake everyone who waits if it is another.

        Args:
            state: the state now.
            detail: why it is so.
            at_once: run those who wait right here; only for callbacks of the event loop.
        """
        changed = state is not self.state
        self.state, self.detail = state, detail
        if changed and self._waiters:
            waiters, self._waiters = self._waiters, set()
            for waiter in waiters:
                if not waiter.done():
                    if at_once:
                        wake(waiter, None)
                    else:
                        waiter.set_result(None)

    async def changed(self) -> None:
        """Wait until the state is another one."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def follow(self) -> AsyncIterator[PeerState]:
        """The state now, then each new one; states that came and went between two looks are left out."""
        state = self.state
        yield state
        while state is not PeerState.CLOSED:
            if self.state is state:
                await self.changed()
            if self.state is not state:
                state = self.state
                yield state
