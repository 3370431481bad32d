"""What is measured: a channel, the peer at its other end, and that peer's service ``bench``."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from virtagent.api.bench import LARGEST_CHUNK, Bench, Environment, Usage
from virtagent.bench.load import Call
from virtagent.bench.timer import PreciseTimer, Timer
from virtagent.errors import InternalError, MethodNotFound
from virtagent.host.registry import without_dialect
from virtagent.peer.connecting import CONNECT_TIMEOUT, Connecting, ConnectingPeer
from virtagent.peer.identity import local_identity
from virtagent.peer.options import PeerOptions
from virtagent.peer.peer import Peer
from virtagent.protocol.announcement import Announcement, Identity
from virtagent.protocol.rpc import DEFAULT_DEADLINE
from virtagent.service.stub import stub

__all__ = ["Subject", "echo", "environment_of", "largest_frame", "most_calls", "usage_of"]

UNKNOWN = Announcement(identity=Identity())
"""What is assumed of a peer that has said nothing of itself, as one that speaks plain msgpack-RPC."""

LATEST = 1 << 63
"""Nanoseconds; no clock of ours shows more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A peer that can be connected to again and again.

    Attributes:
        url: the channel.
        name: what people call it.
        timeout: seconds in which it must be up.
        deadline: seconds for each answer.
        trace: a new file to record the session to, or None.
    """

    url: str
    name: str
    timeout: float = CONNECT_TIMEOUT
    deadline: float = DEFAULT_DEADLINE
    trace: str | None = None

    def connect(self) -> AbstractAsyncContextManager[Peer]:
        """The peer, up within the block. It is called by names: what a typed stub adds is not the channel's.

        Raises:
            ChannelError, UrlError: (when entered) no channel; NobodyAnswers: no agent answered in time.
        """
        address, plain = without_dialect(self.url)
        options = PeerOptions(
            identity=local_identity(role="host"),
            trace=self.trace,
            deadline=self.deadline,
        )
        return Connecting(lambda: ConnectingPeer(address, (), options, plain=plain), timeout=self.timeout)

    def timer(self) -> Timer:
        """A clock to measure by; close it."""
        return PreciseTimer()


async def environment_of(peer: Peer, name: str) -> Environment:
    """The other end's environment.

    Raises:
        MethodNotFound: it cannot be measured; the message says what to do.
    """
    try:
        return await stub(Bench, peer).environment()
    except MethodNotFound:
        raise MethodNotFound(
            f"{name} has no service 'bench': update its agent, or serve virtagent.BenchService() beside your services"
        ) from None


def most_calls(peer: Peer) -> int:
    """How many calls the other end serves at a time (rule C5)."""
    return (peer.info or UNKNOWN).calls


def largest_frame(peer: Peer) -> int:
    """Bytes that one frame to the other end may carry; on a slow line they take 50 ms."""
    return min((peer.info or UNKNOWN).frame, LARGEST_CHUNK)


async def usage_of(peer: Peer) -> Usage:
    """What the other end's process has cost so far."""
    return await stub(Bench, peer).usage()


def echo(peer: Peer, size: int) -> Call:
    """A call that echoes ``size`` bytes which do not compress."""
    data = os.urandom(size)

    async def call() -> tuple[int, int, int]:
        return _stamps(await peer.call("bench.echo", data=data), size)

    return call


def _stamps(answer: Any, size: int) -> tuple[int, int, int]:
    """The stamps of an echo, checked at less cost than by the typed layer.

    Raises:
        InternalError: it is none.
    """
    try:
        received, started, finished = stamps = (answer["received"], answer["started"], answer["finished"])
        if (
            type(received) is type(started) is type(finished) is int
            and 0 <= received <= started <= finished < LATEST
            and len(answer["data"]) == size
        ):
            return stamps
    except (TypeError, KeyError):
        pass
    raise InternalError("bench.echo: the peer's answer is no echo with time stamps")
