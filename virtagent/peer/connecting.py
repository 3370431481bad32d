"""Connecting to a channel, and connecting again whenever it is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
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
        self._supervisor: asyncio.Task[None] | None = None
        self._keeps_open = False
        self._retry = options.first_retry
        self._lock: ChannelLock | None = None
        if open_channel is None:
            channel_url = virtagent_transports.ChannelUrl.parse(url)
            open_channel = partial(virtagent_transports.connect, channel_url)
            self._lock = socket_lock(channel_url)
        self._open_channel = open_channel

    async def open_once(self) -> None:
        """Open the channel.

        Raises:
            ChannelError: it cannot be opened, or (ChannelBusy) another program holds the socket of a guest's device.
        """
        if self._lock is not None:
            self._lock.check()
        await self._open_channel(lambda facts: Channel(facts, lambda _: self))

    def _set_up(self, detail: str) -> None:
        # The lock first: those who wait for this peer may run before the other line returns.
        if self._lock is not None and self.info is not None and self.info.exclusive:
            try:
                self._lock.acquire()
            except ChannelError as error:
                log.warning("%s; other programs will not be told that this one holds the channel", error)
        super()._set_up(detail)

    def keep_open(self) -> None:
        """From now on open the channel again whenever it is lost."""
        self._keeps_open = True
        if self._channel is None:
            self._open_again()

    def channel_down(self, channel: Channel, error: Exception | None) -> None:
        super().channel_down(channel, error)
        if self._served:
            self._served = False
            self._retry = self.options.first_retry
        if self._keeps_open:
            self._open_again()

    def _open_again(self) -> None:
        if self._supervisor is None and not self._closing:
            self._supervisor = self._loop.create_task(self._supervise(), name=f"connect {self.name}")

    async def _supervise(self) -> None:
        import random  # noqa: PLC0415 - as for the lock

        try:
            while self._channel is None and not self._closing:
                await asyncio.sleep(self._retry * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                self._retry = min(self._retry * 2, self.options.longest_retry)
                try:
                    await self.open_once()
                except (ChannelError, OSError) as error:
                    self._cell.set(PeerState.NO_CHANNEL, f"{self.name}: {error}")
                    log.debug("%s: %s; trying again", self.name, error)
        finally:
            self._supervisor = None

    async def aclose(self, reason: str = "client", message: str = "", *, drain: float | None = None) -> None:
        try:
            await super().aclose(reason, message, drain=drain)
        finally:
            if self._lock is not None:
                self._lock.release()
            if self._supervisor is not None:
                self._supervisor.cancel()
                await asyncio.wait([self._supervisor])


def socket_lock(url: virtagent_transports.ChannelUrl) -> ChannelLock | None:
    """The lock beside a URL's socket; None where it is no socket with a path."""
    if url.scheme != "unix" or url.target.startswith("@"):
        return None
    from virtagent.peer.lock import ChannelLock  # noqa: PLC0415 - a side that only listens holds none

    return ChannelLock(url.target)


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
        opened = False
        try:
            async with asyncio.timeout(self._timeout):
                await self._open_first(peer)
                opened = True
                peer.keep_open()
                if ready:
                    await peer.wait_ready()
        except TimeoutError:
            detail = peer.detail if opened else f"could not be opened within {self._timeout:g} s"
            await peer.aclose()
            raise NobodyAnswers(peer.named(detail)) from None
        except BaseException:
            await peer.aclose()
            raise
        return peer

    async def _open_first(self, peer: PeerType) -> None:
        try:
            await peer.open_once()
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
