"""What the agent's services share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from virtagent.guest.configuration import Configuration
from virtagent.guest.event_log import EventLog
from virtagent.guest.frozen import Frozen
from virtagent.guest.grants import Grants
from virtagent.guest.sessions import Sessions

if TYPE_CHECKING:
    from virtagent.guest.audit import Audit
    from virtagent.peer.listening import Listening

__all__ = ["GuestService", "Resources", "StopHook"]

log = logging.getLogger("virtagent.daemon")

StopHook = Callable[[str, str], Awaitable[None] | None]
"""Called with the reason and the message when the agent goes, before running calls are ended."""

STOP_PATIENCE = 2.0
"""Seconds that stop hooks may take."""


class Resources:
    """Given to each service when it is made, which is at the first call of one of its methods.

    Args:
        configuration: what the file says; None: defaults.
        grants: what each peer may do; None: everything.

    Attributes:
        configuration: see above.
        events: what is published here reaches whoever subscribed.
        frozen: filesystems that must not be touched at the moment.
        grants: what each peer may do.
        channels: what the agent serves; none outside of the daemon.
        reports: what services hold, such as jobs, for the dump: structs without secrets, by their noun.
        audit: writes down calls, once one was written down.
        sessions: desktop sessions of users, whose helpers are connected.
    """

    def __init__(self, configuration: Configuration | None = None, grants: Grants | None = None) -> None:
        self.configuration = configuration or Configuration()
        self.events = EventLog()
        self.frozen = Frozen()
        self.grants = grants or Grants()
        self.channels: Sequence[Listening] = ()
        self.reports: dict[str, Callable[[], Sequence[Any]]] = {}
        self.audit: Audit | None = None
        self.sessions = Sessions()
        self._on_stop: list[StopHook] = [self.events.stop]

    def on_stop(self, hook: StopHook) -> None:
        """Have something done when the agent goes."""
        self._on_stop.append(hook)

    async def stop(self, reason: str, message: str) -> None:
        """Run the hooks, the last one first; one that fails or hangs does not keep the others from running."""
        for hook in reversed(self._on_stop):
            try:
                waiting = hook(reason, message)
                if waiting is not None:
                    await asyncio.wait_for(waiting, STOP_PATIENCE)
            except Exception:
                log.exception("while going down")


class GuestService:
    """Base of the agent's services, beside the interface of each: ``class FilesService(GuestService, Files)``.

    Args:
        resources: what services share; None: their own, with defaults.
    """

    def __init__(self, resources: Resources | None = None) -> None:
        self.resources = resources or Resources()
