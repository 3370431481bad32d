"""What the agent is doing at the moment, for its log (SIGUSR1)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from virtagent.peer.listening import Listening

__all__ = ["dump"]

log = logging.getLogger("virtagent.daemon")


def dump(channels: Iterable[Listening]) -> None:
    """Log each channel's peers with their counters, and each task (a handler has its method's name)."""
    for channel in channels:
        log.warning("channel %s: %d peers", channel.url, len(channel.peers))
        for peer in channel.peers:
            counters = ", ".join(f"{key} {value}" for key, value in peer.statistics().items() if key != "detail")
            log.warning("  peer %s: %s (%s)", peer.name, counters, peer.detail)
    for task in sorted(asyncio.all_tasks(), key=asyncio.Task.get_name):
        stack = task.get_stack(limit=1)
        where = f"{stack[0].f_code.co_filename}:{stack[0].f_lineno}" if stack else "?"
        log.warning("  task %s at %s", task.get_name(), where)
