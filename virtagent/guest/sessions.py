"""Desktop sessions whose helpers are connected, and the socket that they connect to."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from virtagent.errors import ChannelError, NotFound, ResourceExhausted, Unavailable
from virtagent.guest.runtime import runtime_directory
from virtagent.peer.handler import Router
from virtagent.peer.listening import Listening
from virtagent.service.serving import peer_options

if TYPE_CHECKING:
    from virtagent.api.session import SessionInfo
    from virtagent.guest.resources import Resources
    from virtagent.peer.handler import Handler
    from virtagent.peer.peer import Peer

__all__ = ["AttachedSession", "SessionSocket", "Sessions"]

log = logging.getLogger("virtagent.daemon")

SOCKET = "session.sock"
MOST_HELPERS = 256
MOST_OF_A_USER = 8

Watcher = Callable[["AttachedSession", str | None, list[str]], None]
"""Told of a change: the session, the selection, the types; None for the selection: the session has ended."""


class AttachedSession(NamedTuple):
    """A session.

    Attributes:
        id: names it in this run of the agent.
        peer: its helper.
        info: what that said of it.
    """

    id: str
    user: str
    uid: int
    peer: Peer
    info: SessionInfo
    since: datetime


class Sessions:
    """The sessions at the moment, the latest last.

    Attributes:
        watchers: told of changes of clipboards.
    """

    def __init__(self) -> None:
        self._attached: dict[str, AttachedSession] = {}
        self._numbers = itertools.count(1)
        self.watchers: set[Watcher] = set()

    def __iter__(self) -> Iterator[AttachedSession]:
        return iter(list(self._attached.values()))

    def add(self, peer: Peer, user: str, uid: int, info: SessionInfo) -> AttachedSession:
        """A helper has come.

        Raises:
            ResourceExhausted: this user, or all users together, have too many.
        """
        of_user = sum(each.uid == uid for each in self._attached.values())
        if of_user >= MOST_OF_A_USER or len(self._attached) >= MOST_HELPERS:
            raise ResourceExhausted(f"user {user} has {of_user} session helpers, all users {len(self._attached)}")
        name = f"{info.kind}-{next(self._numbers)}"
        session = self._attached[name] = AttachedSession(name, user, uid, peer, info, datetime.now(UTC))
        log.info("session %s of user %s: its helper is here (%s %s)", name, user, info.kind, ascii(info.display))
        return session

    def remove(self, session: AttachedSession) -> None:
        """A helper has gone."""
        del self._attached[session.id]
        log.info("session %s of user %s: its helper has gone", session.id, session.user)
        self.tell(session, None, [])

    def tell(self, session: AttachedSession, selection: str | None, types: list[str]) -> None:
        """Tell watchers."""
        for each in list(self.watchers):
            each(session, selection, types)

    def of_peer(self, peer: Peer) -> AttachedSession | None:
        """The session that a helper serves."""
        return next((each for each in self._attached.values() if each.peer is peer), None)

    def find(self, name: str) -> AttachedSession:
        """A session by its id, or the latest one of a user, or of all.

        Raises:
            NotFound: there is no such one.
            Unavailable: there is none at all.
        """
        if not self._attached:
            raise Unavailable(
                "no desktop session of the guest has a helper: log in there, or run `virtagentd session` in the session"
            )
        fitting = [each for each in self._attached.values() if name in ("", each.id, each.user)]
        if not fitting:
            there = ", ".join(f"{each.id} (user {each.user})" for each in self._attached.values())
            raise NotFound(f"there is no session {name!r}; there are {there}")
        return fitting[-1]


class SessionSocket:
    """Where helpers connect to. Only the service ``session`` is there, and nothing that the host may call.

    Args:
        resources: what services share.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._listening: Listening | None = None
        self.path = os.path.join(runtime_directory(), SOCKET)

    async def start(self) -> None:
        """Begin to listen. Where that cannot be, there are no sessions: another agent of this machine has them."""
        router = Router((), {"session": self._handlers})
        options = peer_options(None, router, role="guest", digest="session")
        # Every user may connect: who it is, the kernel tells, and more than offering a session nobody can do there.
        listening = Listening(f"unix:{self.path}?mode=0666", router, options, most_peers=MOST_HELPERS)
        try:
            self._listening = await listening.start()
        except (ChannelError, OSError) as error:
            log.debug("no desktop sessions: %s", error)

    def _handlers(self) -> Iterable[Handler]:
        from virtagent.guest.session import SessionService  # noqa: PLC0415 - few guests have a desktop
        from virtagent.service.service import handlers_of  # noqa: PLC0415

        return handlers_of(SessionService(self._resources))

    async def stop(self, reason: str, message: str) -> None:
        """Say goodbye to helpers, which come back to the next agent."""
        if self._listening is not None:
            await self._listening.aclose(reason, message, drain=0.0)
