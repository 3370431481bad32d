"""The asyncio protocol between a transport and a peer's protocol core."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from virtagent.protocol.schedule import JOIN_BELOW

if TYPE_CHECKING:
    from virtagent.protocol.channel import ChannelFacts

__all__ = ["Channel", "ChannelUser"]

HIGH_WATER: Final = 64 * 1024
"""Bytes that may wait in a transport: what comes next is chosen as late as possible (rule P7)."""

LOW_WATER: Final = 16 * 1024

CLOSE_TIMEOUT: Final = 2.0
"""Seconds in which a closing transport may write what it holds: the other side may not be reading."""


@mypyc_attr(allow_interpreted_subclasses=True)
class ChannelUser:
    """What a channel needs of the peer that uses it."""

    def channel_up(self, channel: Channel) -> None:
        """The transport is connected."""

    def buffer_getter(self) -> Callable[[int], memoryview]:
        """What gives the buffer to receive to."""
        raise NotImplementedError

    def buffer_updated(self, count: int) -> None:
        """So many bytes were received."""

    def data_received(self, data: bytes) -> None:
        """Bytes were received elsewhere."""

    def writable(self) -> None:
        """The transport takes bytes again."""

    def channel_down(self, channel: Channel, error: Exception | None) -> None:
        """The channel is gone."""


class Channel(asyncio.BufferedProtocol):
    """One connected channel. Serves also transports that call ``data_received`` whatever the protocol (pyserial).

    Args:
        facts: what the transport tells of the channel.
        user: gives the peer for a transport that has connected.
    """

    def __init__(self, facts: ChannelFacts, user: Callable[[Channel], ChannelUser]) -> None:
        self.facts = facts
        self._make_user = user
        self.transport: asyncio.Transport | None = None
        self.user: ChannelUser | None = None
        self.paused = False
        self._gathers = False
        self.closed: asyncio.Future[Exception | None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]
        self._gathers = getattr(transport, "gathers", False)
        self.closed = asyncio.get_running_loop().create_future()
        limits = getattr(transport, "set_write_buffer_limits", None)
        if limits is not None:
            limits(high=HIGH_WATER, low=LOW_WATER)
        self.user = self._make_user(self)
        self.buffer_updated = self.user.buffer_updated  # type: ignore[method-assign,assignment]
        self.user.channel_up(self)
        self.bind_buffer()

    def bind_buffer(self) -> None:
        """Let the transport ask for buffers where they are: the layers between would cost each read."""
        if self.user is not None:
            self.get_buffer = self.user.buffer_getter()  # type: ignore[method-assign,assignment]

    def get_buffer(self, sizehint: int) -> memoryview:
        assert self.user is not None
        return self.user.buffer_getter()(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        assert self.user is not None
        self.user.buffer_updated(nbytes)

    def data_received(self, data: bytes) -> None:
        """For transports that do not know buffered protocols."""
        assert self.user is not None
        self.user.data_received(data)

    def eof_received(self) -> None:
        """The other side sends no more: the channel is of no use to a session."""

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self.user is not None:
            self.user.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        self.paused = True
        if self.closed is not None and not self.closed.done():
            self.closed.set_result(exc)
        if self.user is not None:
            self.user.channel_down(self, exc)

    def write(self, buffers: list[Any]) -> None:
        """Write what the core gave: at once where the transport gathers; else small buffers joined, large as is."""
        transport = self.transport
        if transport is None:
            return
        if len(buffers) == 1:
            transport.write(buffers[0])
            return
        if self._gathers:
            transport.writelines(buffers)
            return
        small: list[Any] = []
        for buffer in buffers:
            if len(buffer) < JOIN_BELOW:
                small.append(buffer)
                continue
            if small:
                transport.write(b"".join(small))
                small = []
            transport.write(buffer)
        if small:
            transport.write(b"".join(small))

    @property
    def closing(self) -> bool:
        """Nothing can be written any more: the loop may have closed the transport and not yet said so."""
        return self.transport is None or self.transport.is_closing()

    def close(self) -> None:
        """Close the transport; what it holds is still written."""
        if self.transport is not None:
            self.transport.close()

    async def wait_closed(self) -> None:
        """Wait for the end of a channel that was closed; one that cannot write its rest is aborted after a while."""
        if self.closed is None or self.closed.done():
            return
        await asyncio.wait([self.closed], timeout=CLOSE_TIMEOUT)
        if not self.closed.done():
            self.abort()
            await asyncio.wait([self.closed], timeout=CLOSE_TIMEOUT)

    def abort(self) -> None:
        """Close the transport at once."""
        if self.transport is not None:
            self.transport.abort()
