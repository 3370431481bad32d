"""Some guests in one process: ``python -m benchmarks.growth.guest_process DIRECTORY FIRST COUNT HEARTBEAT``.

Each listens on a unix socket of its own and has the agent's service and its presence, as the daemon has: with
HEARTBEAT (seconds) above 0 it notifies its host, and promises signs of life at the daemon's default interval.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from virtagent.guest.agent import AgentService
from virtagent.guest.presence import Presence
from virtagent.peer.listening import Listening
from virtagent.service.serving import peer_options, router_of

__all__ = ["KEEPALIVE", "guest_url"]

KEEPALIVE = 5.0
"""Seconds; the daemon's default."""


def guest_url(directory: str, number: int) -> str:
    """Where a guest listens."""
    return f"unix:{directory}/g{number}"


async def serve(directory: str, first: int, count: int, heartbeat: float) -> None:
    keepalive = KEEPALIVE if heartbeat else 0.0
    async with contextlib.AsyncExitStack() as stack:
        beats = []
        for number in range(first, first + count):
            agent = AgentService()
            presence = Presence(agent, "boot")
            router = router_of([agent])
            options = peer_options(None, router, role="guest", name=f"g{number}", keepalive=keepalive)
            listening = Listening(guest_url(directory, number), router, options, on_peer=presence.welcome)
            await stack.enter_async_context(listening)
            if heartbeat:
                beats.append(asyncio.create_task(presence.beat(heartbeat)))
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
