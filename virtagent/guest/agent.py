"""The service ``agent``."""

from __future__ import annotations

import os
import time
from weakref import WeakKeyDictionary

from virtagent import __version__
from virtagent.api.agent import Agent, Pong
from virtagent.guest import facts
from virtagent.guest.resources import GuestService, Resources
from virtagent.peer.context import Context
from virtagent.peer.peer import Peer
from virtagent.service.options import method

__all__ = ["AgentService"]


class AgentService(GuestService, Agent):
    """Answers pings, and remembers since when there are sessions.

    Attributes:
        started: when this agent started, on the monotonic clock.
        sessions: when each peer's session began, on the monotonic clock.
    """

    def __init__(self, resources: Resources | None = None) -> None:
        super().__init__(resources)
        self.started = time.monotonic()
        self.sessions: WeakKeyDictionary[Peer, float] = WeakKeyDictionary()

    @property
    def uptime(self) -> float:
        """Seconds since this agent started."""
        return time.monotonic() - self.started

    @method(inline=True)
    async def ping(self, *, ctx: Context | None = None) -> Pong:
        peer = ctx.peer if ctx is not None else None
        since = self.sessions.get(peer) if peer is not None else None
        return Pong(
            time=facts.now(),
            agent_uptime=round(self.uptime, 3),
            session_uptime=0.0 if since is None else round(time.monotonic() - since, 3),
            version=__version__,
            pid=os.getpid(),
            open_calls=None if peer is None else peer.statistics()["requests"],
        )
