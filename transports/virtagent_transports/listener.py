"""What accepts connections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .url import ChannelUrl

__all__ = ["Listener", "ServerListener"]


class Listener(ABC):
    """Accepts connections until it is closed. Connections that it accepted live on after that."""

    @property
    @abstractmethod
    def url(self) -> ChannelUrl:
        """Where it listens really, with the port that the system chose; ``connect`` to this works."""

    @abstractmethod
    def close(self) -> None:
        """Stop accepting, and free the address. May be called again."""

    @abstractmethod
    async def wait_closed(self) -> None:
        """Wait until the address is free. Cancelling changes nothing."""

    async def __aenter__(self) -> Listener:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await self.wait_closed()


class Server(Protocol):
    """What accepts: a loop's server, or an acceptor of ours."""

    def close(self) -> None: ...


class ServerListener(Listener):
    """A :class:`Listener` over a server.

    Args:
        server: the server, already accepting.
        url: its actual address.
        before_close: called once, while the server still accepts.
    """

    def __init__(self, server: Server, url: ChannelUrl, before_close: Callable[[], None] | None = None) -> None:
        self._server = server
        self._url = url
        self._before_close = before_close

    @property
    def url(self) -> ChannelUrl:
        return self._url

    def close(self) -> None:
        before, self._before_close = self._before_close, None
        if before is not None:
            before()
        self._server.close()

    async def wait_closed(self) -> None:
        # Not Server.wait_closed(): since Python 3.12 that waits for the end of every accepted connection too.
        import asyncio  # noqa: PLC0415 - importing the package stays light

        await asyncio.sleep(0)
