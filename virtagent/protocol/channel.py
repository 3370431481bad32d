"""What the core must know of the channel that carries its bytes."""

from __future__ import annotations

from typing import Protocol

__all__ = ["ChannelFacts"]


class ChannelFacts(Protocol):
    """What the core must know of a channel; the transports' facts have these attributes."""

    @property
    def scheme(self) -> str:
        """The URL's scheme: on ``unix`` a QEMU chardev may be at the other end (rule H11)."""

    @property
    def lossless(self) -> bool:
        """It neither loses nor damages bytes."""

    @property
    def stale(self) -> bool:
        """Bytes of an older session may be in it at the start."""

    @property
    def speaks_first(self) -> bool:
        """Either side may begin; elsewhere the connector does (rule H12)."""

    @property
    def line_rate(self) -> int | None:
        """Bytes per second of a slow line, or None."""

    @property
    def exclusive(self) -> bool: ...
