"""What a channel is like, told to the protocol before its first byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import asyncio

__all__ = ["ChannelFacts", "ProtocolFactory"]


class ChannelFacts(NamedTuple):
    """The facts of one connected channel.

    A protocol factory gets them as its only argument. ``transport.get_extra_info`` would be the asyncio way, but
    the extra info of asyncio's own socket transports (and of uvloop's) cannot be added to, and an argument is typed.

    Attributes:
        scheme: the URL's scheme ("virtio").
        name: the channel's URL for people and logs, with nothing secret in it.
        lossless: bytes arrive complete and unaltered as long as the connection lasts.
        stale: bytes of an earlier session may come first.
        tells_disconnect: the end of the peer's process is noticed here without any heartbeat.
        speaks_first: the accepting side must send its hello without waiting for a first byte.
        line_rate: what the line can carry at most, in bytes per second, or None where there is no such bound.
        max_write: what the channel takes at most in one write, in bytes, or None. Transports split by themselves.
        exclusive: only one program can hold this end of the channel.
        connecting: this side opened the channel; False for a connection that a listener accepted.
    """

    scheme: str
    name: str
    lossless: bool = True
    stale: bool = False
    tells_disconnect: bool = True
    speaks_first: bool = False
    line_rate: int | None = None
    max_write: int | None = None
    exclusive: bool = False
    connecting: bool = True


ProtocolFactory: TypeAlias = "Callable[[ChannelFacts], asyncio.BaseProtocol]"
"""Makes the protocol of one connection. It is called once per connection, before ``connection_made``."""
