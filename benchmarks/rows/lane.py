"""One subject under measure: a connection to its server, in an event loop of its own.

The loops of several lanes take turns in one thread. So subjects are compared within milliseconds of each other, and
none of them pays for another's timers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

from benchmarks.limits import ECHO_CLIENT, EchoClient, RawCopyClient
from benchmarks.loops import loop_factory
from benchmarks.prototype import Prototype
from benchmarks.rows.setting import subject_on
from virtagent.peer.connecting import Connecting, ConnectingPeer
from virtagent.peer.options import PeerOptions
from virtagent.peer.peer import Peer

__all__ = ["CONNECT", "Lane", "lanes", "our_peer"]

T = TypeVar("T")
Client = TypeVar("Client")


@contextlib.asynccontextmanager
async def our_peer(path: str, loop: str) -> AsyncIterator[Peer]:
    """Ours."""
    async with Connecting(lambda: ConnectingPeer(f"unix:{path}", [], PeerOptions())) as peer:
        yield peer


@contextlib.asynccontextmanager
async def bare_echo(path: str, loop: str) -> AsyncIterator[EchoClient]:
    """The limit of a round trip."""
    transport, client = await asyncio.get_running_loop().create_unix_connection(ECHO_CLIENT[loop], path)
    try:
        yield client
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def prototype(path: str, loop: str) -> AsyncIterator[Prototype]:
    """The limit of a remote call."""
    transport, client = await asyncio.get_running_loop().create_unix_connection(lambda: Prototype({}), path)
    try:
        yield client
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def raw_copy(path: str, loop: str) -> AsyncIterator[RawCopyClient]:
    """The limit of a stream."""
    transport, client = await asyncio.get_running_loop().create_unix_connection(RawCopyClient, path)
    try:
        yield client
    finally:
        transport.close()


CONNECT: dict[str, Callable[[str, str], AbstractAsyncContextManager[Any]]] = {
    "ours": our_peer,
    "bare echo": bare_echo,
    "prototype": prototype,
    "raw copy": raw_copy,
}
"""How to connect to each subject, by its name and its server's: a socket's path and the event loop's name go in."""


class Lane(Generic[Client]):
    """A connected client, and the loop that runs it.

    Args:
        subject: its name, without the loop's.
        loop: "asyncio" or "uvloop".
        connection: connects when it is entered, in that loop.

    Attributes:
        name: the subject's name in metrics.
        client: what the connection gave.
    """

    def __init__(self, subject: str, loop: str, connection: AbstractAsyncContextManager[Client]) -> None:
        self.subject = subject
        self.loop = loop
        self.name = subject_on(subject, loop)
        self._connection = connection
        self._runner = asyncio.Runner(loop_factory=loop_factory(loop))
        try:
            self.client = self.run(self._enter())
        except BaseException:
            self._runner.close()
            raise

    async def _enter(self) -> Client:
        return await self._connection.__aenter__()

    async def _leave(self) -> None:
        await self._connection.__aexit__(None, None, None)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run this lane's loop until the work is done."""
        return self._runner.run(work)

    def close(self) -> None:
        """Disconnect."""
        try:
            self.run(self._leave())
        finally:
            self._runner.close()


@contextlib.contextmanager
def lanes(wanted: list[tuple[str, str, str]]) -> Iterator[list[Lane[Any]]]:
    """Lanes for (subject, loop, path) each, closed in the end."""
    with contextlib.ExitStack() as stack:
        opened = []
        for subject, loop, path in wanted:
            lane: Lane[Any] = Lane(subject, loop, CONNECT[subject](path, loop))
            stack.callback(lane.close)
            opened.append(lane)
        yield opened
