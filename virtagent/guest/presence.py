"""What the agent tells its hosts of itself: up, heartbeat, down."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from virtagent import __version__
from virtagent.api.agent import AgentEvents, Down, Heartbeat, Up
from virtagent.errors import PeerClosed, SessionLost
from virtagent.guest import facts
from virtagent.guest.agent import AgentService
from virtagent.peer.peer import Peer
from virtagent.peer.state import PeerState
from virtagent.service.stub import stub

__all__ = ["Presence"]

log = logging.getLogger("virtagent.daemon")


class Presence:
    """Notifies every host that has a session. A plain msgpack-RPC peer is told nothing: it asked for nothing.

    Args:
        agent: knows how long the agent and its sessions live.
        start_reason: why the agent started ("boot" or "restart").
    """

    def __init__(self, agent: AgentService, start_reason: str) -> None:
        self._agent = agent
        self._start_reason = start_reason
        self._sequence = 0

    def welcome(self, peer: Peer) -> None:
        """A new peer: from now on each of its sessions is greeted."""
        peer.on_session = self._session
        if peer.state is PeerState.UP:
            self._session(peer)

    def _session(self, peer: Peer) -> None:
        if peer.info is None:
            return
        who = peer.info.identity
        log.debug("%s: session with %s %s (%s)", peer.name, who.role or "peer", who.name or "?", who.software)
        self._agent.sessions[peer] = time.monotonic()
        event = Up(
            version=__version__,
            boot_id=facts.boot_id(),
            time=facts.now(),
            agent_uptime=round(self._agent.uptime, 3),
            reason=self._start_reason,
        )
        with contextlib.suppress(SessionLost, PeerClosed):
            stub(AgentEvents, peer).up(event)

    async def beat(self, interval: float) -> None:
        """Send heartbeats, one every ``interval`` seconds, until cancelled."""
        while True:
            await asyncio.sleep(interval)
            self.heartbeat()

    def heartbeat(self) -> None:
        """Send one heartbeat to every host."""
        peers = self._peers()
        if peers:
            event = Heartbeat(
                sequence=self._sequence,
                time=facts.now(),
                uptime=round(facts.uptime(), 3),
                load=facts.load(),
                memory_available=facts.memory("MemAvailable"),
            )
            for peer in peers:
                with contextlib.suppress(SessionLost, PeerClosed):
                    stub(AgentEvents, peer).heartbeat(event)
        self._sequence += 1

    async def down(self, reason: str, message: str) -> None:
        """Tell every host why the agent goes; returns when that has been handed to the channels."""
        for peer in self._peers():
            with contextlib.suppress(SessionLost, PeerClosed):
                stub(AgentEvents, peer).down(Down(reason=reason, message=message))
        await asyncio.sleep(0)  # queued notifications leave at the end of this turn of the loop

    def _peers(self) -> list[Peer]:
        return [peer for peer in self._agent.sessions if peer.state is PeerState.UP and peer.info is not None]
