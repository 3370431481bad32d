"""The service ``clipboard``: what the host asks is asked of the helper in the session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack

from virtagent.api.clipboard import (
    TEXT,
    Clipboard,
    ClipboardChange,
    ClipboardSession,
    MimeType,
    Selection,
    SessionName,
    Sessions,
    Types,
)
from virtagent.api.session import SessionClipboard
from virtagent.errors import CallError, NotFound, PeerClosed, SessionLost, Unavailable
from virtagent.guest.resources import GuestService, Resources
from virtagent.guest.sessions import AttachedSession
from virtagent.peer.context import Context
from virtagent.service.streams import TypedStream
from virtagent.service.stub import stub

__all__ = ["ClipboardService"]

MOST_WAITING = 64
"""Changes that a watcher may leave untaken; older ones are counted."""


class ClipboardService(GuestService, Clipboard):
    """Knows no clipboard itself: the agent is nobody's desktop."""

    def __init__(self, resources: Resources | None = None) -> None:
        super().__init__(resources)
        self._watches: set[Watch] = set()
        self.resources.on_stop(self._stop)

    def _stop(self, reason: str, message: str) -> None:
        for each in list(self._watches):
            each.end(Unavailable(message))

    async def sessions(self) -> Sessions:
        return [
            ClipboardSession(
                id=each.id,
                user=each.user,
                uid=each.uid,
                kind=each.info.kind,
                display=each.info.display,
                since=each.since,
                watched=each.info.watched,
            )
            for each in self.resources.sessions
        ]

    def _helper(self, session: str) -> SessionClipboard:
        return stub(SessionClipboard, self.resources.sessions.find(session).peer)

    async def types(self, *, session: SessionName = "", selection: Selection = "clipboard") -> Types:
        helper = self._helper(session)
        try:
            return await helper.types(selection=selection)
        except (SessionLost, PeerClosed) as error:
            raise _gone(error) from None

    async def get(
        self, *, type: MimeType = TEXT, session: SessionName = "", selection: Selection = "clipboard"
    ) -> AsyncIterator[bytes]:
        chunks = TypedStream.of(await self._helper(session).get(type=type, selection=selection))
        try:
            first = await anext(chunks, b"")  # here, so that what the helper refuses answers the call itself
        except (SessionLost, PeerClosed) as error:
            raise _gone(error) from None
        except BaseException:
            await chunks.aclose()
            raise
        return Relayed(first, chunks)

    async def set(
        self,
        data: AsyncIterator[bytes],
        *,
        type: MimeType = TEXT,
        session: SessionName = "",
        selection: Selection = "clipboard",
    ) -> int:
        helper = self._helper(session)
        try:
            return await helper.set(data, type=type, selection=selection)
        except (SessionLost, PeerClosed) as error:
            raise _gone(error) from None

    async def clear(self, *, session: SessionName = "", selection: Selection = "clipboard") -> None:
        helper = self._helper(session)
        try:
            await helper.clear(selection=selection)
        except (SessionLost, PeerClosed) as error:
            raise _gone(error) from None

    async def watch(self, *, session: SessionName = "", ctx: Context | None = None) -> AsyncIterator[ClipboardChange]:
        only = self.resources.sessions.find(session) if session else None
        if only is not None and not only.info.watched:
            raise Unavailable(f"session {only.id} cannot tell of changes; docs/services/clipboard.md says why")
        grants = self.resources.grants
        with ExitStack() as held:
            held.enter_context(grants.hold(ctx, "watches", grants.of(ctx).watches))
            watch = Watch(self._forget, only, held.pop_all())
        self._watches.add(watch)
        self.resources.sessions.watchers.add(watch.take)
        return watch

    def _forget(self, watch: Watch) -> None:
        self._watches.discard(watch)
        self.resources.sessions.watchers.discard(watch.take)


def _gone(error: Exception) -> CallError:
    return Unavailable(f"the session's helper has gone: {error}")


class Relayed(AsyncIterator[bytes]):
    """A stream of a helper, whose first chunk was taken already."""

    def __init__(self, first: bytes, rest: TypedStream[bytes]) -> None:
        self._first = first
        self._rest = rest

    async def __anext__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        try:
            return await anext(self._rest)
        except (SessionLost, PeerClosed) as error:
            raise _gone(error) from None

    async def aclose(self) -> None:
        """Have the helper stop."""
        await self._rest.aclose()


class Watch(AsyncIterator[ClipboardChange]):
    """Changes until somebody has had enough, the session ends, or the agent goes."""

    def __init__(self, forget: Callable[[Watch], None], only: AttachedSession | None, held: ExitStack) -> None:
        self._held = held
        self._forget = forget
        self._only = only
        self._waiting: list[ClipboardChange] = []
        self._missed = 0
        self._error: CallError | None = None
        self._over = False
        self._news = asyncio.Event()

    def take(self, session: AttachedSession, selection: str | None, types: list[str]) -> None:
        """Something has changed."""
        if self._only is not None and self._only.id != session.id:
            return
        if selection is None:
            if self._only is not None:
                self.end(NotFound(f"session {session.id} of user {session.user} has ended"))
            return
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.pop(0)
            self._missed += 1
        which: Selection = "primary" if selection == "primary" else "clipboard"
        self._waiting.append(ClipboardChange(session=session.id, user=session.user, selection=which, types=types))
        self._news.set()

    def end(self, error: CallError) -> None:
        """There will be no more."""
        self._error = error
        self._news.set()

    async def __anext__(self) -> ClipboardChange:
        while not self._waiting:
            if self._over:
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error
            self._news.clear()
            await self._news.wait()
        change, missed = self._waiting.pop(0), self._missed
        self._missed = 0
        if not missed:
            return change
        from msgspec import structs  # noqa: PLC0415 - whoever reads slowly

        return structs.replace(change, missed=missed)

    async def aclose(self) -> None:
        """Watch no longer."""
        self._over = True
        self._forget(self)
        self._held.close()
        self._news.set()
