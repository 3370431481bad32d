"""Listening on a channel: each client is a peer; a device has one peer that comes and goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import virtagent_transports
from virtagent.peer.channel import Channel, ChannelUser
from virtagent.peer.connecting import Connecting, ConnectingPeer
from virtagent.peer.handler import Handler, Router
from virtagent.peer.options import PeerOptions
from virtagent.peer.peer import Peer
from virtagent.peer.state import PeerState

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Listening"]

log = logging.getLogger("virtagent.listen")

MOST_PEERS = 1024
"""Clients served at a time by one listener (rule L1); qemu-ga serves one, sshd 10 unauthenticated."""


class Listening:
    """What ``listen()`` gives: ``async with`` it.

    Args:
        url: the channel. A device (virtio port, serial line) has no clients to accept: it is opened, and one peer
            is served on it for as long as the listener lives.
        handlers: the methods that clients may call.
        options: this side's behaviour.
        on_peer: called with each new peer.
        most_peers: clients served at a time; further ones are closed at once.

    Attributes:
        url: the actual URL (with the port that was chosen for port 0).
        peers: the peers at the moment.
    """

    def __init__(
        self,
        url: str,
        handlers: Iterable[Handler] = (),
        options: PeerOptions | None = None,
        *,
        on_peer: Callable[[Peer], None] | None = None,
        most_peers: int = MOST_PEERS,
    ) -> None:
        self.url = url
        self._router = Router.of(handlers)
        self._options = options or PeerOptions()
        self._on_peer = on_peer
        self._most_peers = most_peers
        self.peers: set[Peer] = set()
        self._listener: virtagent_transports.Listener | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Event | None = None

    async def start(self) -> Listening:
        """Begin to listen.

        Raises:
            ChannelError, UrlError: the address cannot be listened on.
        """
        self._ended = asyncio.Event()
        if virtagent_transports.can_listen(self.url):
            self._listener = await virtagent_transports.listen(self.url, lambda facts: Channel(facts, self._accept))
            self.url = str(self._listener.url)
        else:
            peer = await Connecting(self._make_device_peer, wait=True, timeout=None).start(ready=False)
            self._welcome(peer)
        return self

    def _make_device_peer(self) -> ConnectingPeer:
        return ConnectingPeer(self.url, self._router, self._options)

    def _accept(self, channel: Channel) -> ChannelUser:
        if len(self.peers) >= self._most_peers:
            log.warning("%s: %d clients are connected already; one more was turned away", self.url, self._most_peers)
            asyncio.get_running_loop().call_soon(channel.abort)
            return Refused()
        peer = AcceptedPeer(self._router, self._options, name=self.url, on_closed=self._forget)
        self._welcome(peer)
        return peer

    def _welcome(self, peer: Peer) -> None:
        self.peers.add(peer)
        if self._on_peer is not None:
            self._on_peer(peer)

    def _forget(self, peer: Peer) -> None:
        """A client's channel is gone: end what it left running."""
        self.peers.discard(peer)
        if peer.state is PeerState.CLOSED:
            return
        task = asyncio.get_running_loop().create_task(peer.aclose(), name=f"close {peer.name}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def serve_forever(self) -> None:
        """Wait until the listener is closed."""
        assert self._ended is not None
        await self._ended.wait()

    async def aclose(self, reason: str = "stop", message: str = "", *, drain: float | None = None) -> None:
        """Accept no more clients, say goodbye to all (see :meth:`Peer.aclose`), and close everything."""
        if self._listener is not None:
            self._listener.close()
        peers = list(self.peers)
        if peers:
            await asyncio.gather(*(peer.aclose(reason, message, drain=drain) for peer in peers))
        self.peers.clear()
        if self._closing:
            await asyncio.wait(set(self._closing))
        if self._listener is not None:
            await self._listener.wait_closed()
        if self._ended is not None:
            self._ended.set()

    async def __aenter__(self) -> Listening:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class AcceptedPeer(Peer):
    """A client of a listener; it is over when its channel is."""

    def __init__(self, router: Router, options: PeerOptions, *, name: str, on_closed: Callable[[Peer], None]) -> None:
        super().__init__(router, options, name=name)
        self._on_closed = on_closed

    def channel_down(self, channel: Channel, error: Exception | None) -> None:
        super().channel_down(channel, error)
        if self.state is not PeerState.CLOSED:
            self._close_if_at_rest()
            self._on_closed(self)

    async def aclose(self, reason: str = "client", message: str = "", *, drain: float | None = None) -> None:
        try:
            await super().aclose(reason, message, drain=drain)
        finally:
            self._on_closed(self)


class Refused(ChannelUser):
    """Takes the place of a peer for a client that is turned away."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(4096))

    def buffer_getter(self) -> Callable[[int], memoryview]:
        return lambda _: self._buffer
