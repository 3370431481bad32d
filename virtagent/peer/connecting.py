"""Connecting to a channel, and connecting again whenever it is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import virtagent_transports
from virtagent.errors import ChannelError, NobodyAnswers
from virtagent.peer.channel import Channel
from virtagent.peer.handler import Handler, Router
from virtagent.peer.options import PeerOptions
from virtagent.peer.peer import Peer
from virtagent.peer.state import PeerState

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from virtagent.peer.lock import ChannelLock

__all__ = ["Connecting", "ConnectingPeer"]

log = logging.getLogger("virtagent.connect")

Open = Callable[[Callable[[Any], asyncio.BaseProtocol]], Awaitable[Any]]

PeerType = TypeVar("PeerType", bound="ConnectingPeer")

CONNECT_TIMEOUT = 10.0
"""Seconds in which a peer must be up after connecting, unless the user says otherwise."""


class ConnectingPeer(Peer):
    """A peer whose channel this side opens, again and again, until it is closed.

    Args:
        url: the channel.
        handlers: the methods that the other side may call.
        options: this side's behaviour.
        plain: speak plain msgpack-RPC.
        open_channel: opens the channel; None: by the URL's scheme.
    """

    def __init__(
        self,
        url: str,
        handlers: Iterable[Handler],
        options: PeerOptions,
        *,
        plain: bool = False,
        open_channel: Open | None = None,
    ) -> None:
        super().__init__(Router.of(handlers), options, name=url, returns=True, plain=plain)
        self._open_channel = open_channel or self._open_url
        self._supervisor: asyncio.Task[None] | None = None
        self._lock = socket_lock(url) if open_channel is None else None

    async def _open_url(self, protocol_factory: Callable[[Any], asyncio.BaseProtocol]) -> Any:
        return await virtagent_transports.connect(self.name, protocol_factory)

    async def open_once(self) -> None:
        """Open the channel.

        Raises:
            ChannelError: it cannot be opened, or (ChannelBusy) another program holds the socket of a guest's device.
        """
        if self._lock is not None:
            self._lock.check()
        await self._open_channel(lambda facts: Channel(facts, lambda _: self))

    def _set_up(self, detail: str) -> None:
        super()._set_up(detail)
        if self._lock is not None and self.info is not None and self.info.exclusive:
            try:
                self._lock.acquire()
            except ChannelError as error:
                log.warning("%s; other programs will not be told that this one holds the channel", error)

    def keep_open(self) -> None:
        """From now on open the channel again whenever it is lost."""
        self._supervisor = self._loop.create_task(self._supervise(), name=f"connect {self.name}")

    async def _supervise(self) -> None:
        import random  # noqa: PLC0415 - as for the lock

        retry = self.options.first_retry
        while not self._closing:
            channel = self.channel
            if channel is not None and channel.closed is not None:
                await asyncio.shield(channel.closed)
                if self._served:
                    self._served = False
                    retry = self.options.first_retry
            await asyncio.sleep(retry * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            retry = min(retry * 2, self.options.longest_retry)
            try:
                await self.open_once()
            except (ChannelError, OSError) as error:
                self._cell.set(PeerState.NO_CHANNEL, f"{self.name}: {error}")
                log.debug("%s: %s; trying again", self.name, error)

    async def aclose(self, reason: str = "client", message: str = "", *, drain: float | None = None) -> None:
        try:
            await super().aclose(reason, message, drain=drain)
        finally:
            if self._lock is not None:
                self._lock.release()
            if self._supervisor is not None:
                self._supervisor.cancel()
                await asyncio.wait([self._supervisor])
                self._supervisor = None


def socket_lock(url: str) -> ChannelLock | None:
    """The lock beside a URL's socket; None where it is no socket with a path."""
    parsed = virtagent_transports.ChannelUrl.parse(url)
    if parsed.scheme != "unix" or parsed.target.startswith("@"):
        return None
    from virtagent.peer.lock import ChannelLock  # noqa: PLC0415 - a side that only listens holds none

    return ChannelLock(parsed.target)


class Connecting(Generic[PeerType]):
    """What ``connect()`` gives: ``async with`` it, or ``await`` it, for a peer that is up.

    Args:
        make_peer: makes the peer, inside the event loop.
        timeout: seconds in which it must be up; None: for as long as it takes.
        wait: a channel that cannot be opened yet is tried again within the timeout, instead of failing at once.
    """

    def __init__(
        self, make_peer: Callable[[], PeerType], *, timeout: float | None = CONNECT_TIMEOUT, wait: bool = False
    ) -> None:
        self._make_peer = make_peer
        self._timeout = timeout
        self._wait = wait
        self._peer: PeerType | None = None

    def __await__(self) -> Generator[Any, None, PeerType]:
        return self.start(ready=True).__await__()

    async def start(self, *, ready: bool) -> PeerType:
        """Make the peer and open its channel; with ``ready`` wait until it is up.

        Raises:
            ChannelError: the channel cannot be opened, or (NobodyAnswers) nobody answered in time.
        """
        peer = self._peer = self._make_peer()
        try:
            await self._open_first(peer)
            peer.keep_open()
            if ready:
                await peer.wait_ready(self._timeout)
        except BaseException:
            await peer.aclose()
            raise
        return peer

    async def _open_first(self, peer: PeerType) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await peer.open_once()
        except TimeoutError:
            raise NobodyAnswers(f"{peer.name}: could not be opened within {self._timeout:g} s") from None
        except ChannelError:
            if not self._wait:
                raise
        except OSError as error:
            if not self._wait:
                raise ChannelError(f"{peer.name}: {error.strerror or error}") from error

    async def __aenter__(self) -> PeerType:
        return await self.start(ready=True)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._peer is not None:
            await self._peer.aclose()
