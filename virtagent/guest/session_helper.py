"""The helper in a user's desktop session: connects to the agent, and serves the session's clipboard to it."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Literal, Protocol

from virtagent.api.clipboard import LARGEST_CONTENT, TEXT, MimeType, Selection
from virtagent.api.session import SESSION_SOCKET, Session, SessionClipboard, SessionInfo
from virtagent.errors import CallError, InvalidArgument, ResourceExhausted, SessionLost, Unavailable
from virtagent.guest.runtime import runtime_directory
from virtagent.peer.connecting import Connecting, ConnectingPeer
from virtagent.service.serving import peer_options, router_of
from virtagent.service.stub import stub

__all__ = ["Backend", "SessionHelper", "backend_of"]

log = logging.getLogger("virtagent.session")

CHUNK = 64 * 1024


class Backend(Protocol):
    """A way to reach a clipboard."""

    display: str

    @property
    def kind(self) -> Literal["x11", "wayland"]:
        """ "x11" or "wayland"."""
        ...

    def socket_path(self) -> str:
        """Where the display server listens."""
        ...

    async def watchable(self) -> bool:
        """Whether :meth:`changes` works."""
        ...

    async def types(self, selection: Selection) -> list[str]:
        """The media types that there are."""
        ...

    async def get(self, type: str, selection: Selection) -> bytes:
        """The content."""
        ...

    async def set(self, data: bytes, type: str, selection: Selection) -> None:
        """Put content there."""
        ...

    async def clear(self, selection: Selection) -> None:
        """Empty it."""
        ...

    def changes(self) -> AsyncGenerator[Selection, None]:
        """What has changed, as it does, until the session ends."""
        ...


def backend_of(environment: Mapping[str, str]) -> Backend:
    """The way that a session's environment names. Wayland goes before X11, which is Xwayland there.

    Raises:
        Unavailable: it is no desktop session.
    """
    if environment.get("WAYLAND_DISPLAY"):
        from virtagent.guest.clipboard_wayland import WaylandClipboard  # noqa: PLC0415 - one of the two

        return WaylandClipboard(environment["WAYLAND_DISPLAY"])
    if environment.get("DISPLAY"):
        from virtagent.guest.clipboard_x11 import X11Clipboard  # noqa: PLC0415 - one of the two

        return X11Clipboard(environment["DISPLAY"])
    raise Unavailable("neither WAYLAND_DISPLAY nor DISPLAY is set: run this in a desktop session")


class SessionHelper:
    """Offers one clipboard to the agent.

    Args:
        backend: how it is reached.
        socket: the agent's; None: where it usually is. It is waited for, and connected to again after a loss.
    """

    def __init__(self, backend: Backend, socket: str | None = None) -> None:
        self._backend = backend
        self._url = f"unix:{socket or os.path.join(runtime_directory(), SESSION_SOCKET)}"

    async def run(self) -> None:
        """Serve until the session ends.

        Raises:
            CallError: the agent refuses this session.
        """
        watched = await self._backend.watchable()
        info = SessionInfo(kind=self._backend.kind, display=self._backend.display, watched=watched)
        router = router_of([ClipboardOfSession(self._backend)])
        options = peer_options(None, router, role="session")
        connecting = Connecting(lambda: ConnectingPeer(self._url, router, options), timeout=None, wait=True)
        peer = await connecting.start(ready=False)  # the session may end before there is an agent
        ending = self._tell_changes(peer) if watched else self._wait_for_the_end()
        if not watched:
            log.warning("changes of the clipboard cannot be told; docs/services/clipboard.md says what that needs")
        serving = [asyncio.create_task(self._attach(peer, info)), asyncio.create_task(ending)]
        try:
            done, _ = await asyncio.wait(serving, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            await peer.aclose()

    async def _attach(self, peer: ConnectingPeer, info: SessionInfo) -> None:
        """Offer the session to the agent, and to the next one when that has gone."""
        while True:
            await peer.wait_ready()
            try:
                await stub(Session, peer.with_options(deadline=math.inf)).attach(info)
            except SessionLost as error:
                log.info("the agent has gone (%s); waiting for the next one", error)

    async def _tell_changes(self, peer: ConnectingPeer) -> None:
        async for selection in self._backend.changes():
            try:
                types = await self._backend.types(selection)
                stub(Session, peer).clipboard_changed(selection, [each[:255] for each in types])
            except (SessionLost, CallError) as error:
                log.debug("a change was not told: %s", error)
        log.info("the session has ended")

    async def _wait_for_the_end(self) -> None:
        """Without changes, a connection to the display server tells when that has gone."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._backend.socket_path())
        except OSError as error:
            log.debug("the end of the session cannot be told: %s", error)
            await asyncio.get_running_loop().create_future()
        else:
            await reader.read()
            writer.close()


class ClipboardOfSession(SessionClipboard):
    """What the agent calls.

    Args:
        backend: how the clipboard is reached.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._setting = asyncio.Lock()

    async def types(self, *, selection: Selection) -> list[str]:
        return await self._backend.types(selection)

    async def get(self, *, type: MimeType, selection: Selection) -> AsyncIterator[bytes]:
        data = await self._backend.get(type, selection)
        return _Chunks(data)

    async def set(self, data: AsyncIterator[bytes], *, type: MimeType, selection: Selection) -> int:
        content = await _whole(data)
        if type == TEXT:
            try:
                content.decode()
            except UnicodeDecodeError:
                raise InvalidArgument("the text is no UTF-8") from None
        async with self._setting:
            await self._backend.set(content, type, selection)
        return len(content)

    async def clear(self, *, selection: Selection) -> None:
        async with self._setting:
            await self._backend.clear(selection)


async def _whole(data: AsyncIterator[bytes]) -> bytes:
    chunks = []
    size = 0
    async for chunk in data:
        size += len(chunk)
        if size > LARGEST_CONTENT:
            raise ResourceExhausted(f"more than {LARGEST_CONTENT >> 20} MiB do not go into the clipboard")
        chunks.append(chunk)
    return b"".join(chunks)


class _Chunks(AsyncIterator[bytes]):
    """Bytes, piece by piece."""

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)

    async def __anext__(self) -> bytes:
        if not self._view:
            raise StopAsyncIteration
        chunk, self._view = bytes(self._view[:CHUNK]), self._view[CHUNK:]
        return chunk
