"""Which module serves which scheme.

An entry (a module, or any object) of the entry-point group ``virtagent.transports`` offers:

- ``OPTIONS``: the names of the URL options that it understands;
- ``async def connect(url, protocol_factory)`` -> ``(transport, protocol)``, once ``connection_made`` was called;
- optionally ``async def listen(url, protocol_factory)`` -> :class:`~virtagent_transports.listener.Listener`;
- optionally ``def check(url)``: raises :class:`~virtagent.errors.UrlError` for a URL that cannot work;
- optionally ``RAW_TARGET = True``: all behind the colon is the target; ``PATH_TARGET = True``: it is a path.

The built-in schemes come from a table, since ``importlib.metadata`` takes 50 ms and more to import and scan.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from virtagent.errors import UrlError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from .facts import ProtocolFactory
    from .listener import Listener
    from .url import ChannelUrl

__all__ = ["GROUP", "Scheme", "can_listen", "connect", "listen", "load", "schemes"]

GROUP = "virtagent.transports"

_BUILT_IN = ("exec", "serial", "stdio", "tcp", "tls", "unix", "virtio", "vsock")
_loaded: dict[str, Scheme] = {}


class Scheme(Protocol):
    """What every entry has; :mod:`the module's docstring <virtagent_transports.registry>` lists the optional rest."""

    @property
    def OPTIONS(self) -> Iterable[str]:  # noqa: N802 - a module's constant
        """The names of the URL options that it understands."""

    async def connect(
        self, url: ChannelUrl, protocol_factory: ProtocolFactory
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Open the channel."""


def schemes() -> tuple[str, ...]:
    """The names of all schemes, installed ones included, sorted."""
    return tuple(sorted({*_BUILT_IN, *(point.name for point in _entry_points())}))


def load(scheme: str) -> Scheme:
    """The entry of a scheme.

    Raises:
        UrlError: there is no such scheme (the message lists those there are).
    """
    known = _loaded.get(scheme)
    if known is not None:
        return known
    if scheme in _BUILT_IN:
        entry = cast("Scheme", import_module(f".{scheme}", __package__))
    else:
        for point in _entry_points():
            if point.name == scheme:
                entry = cast("Scheme", point.load())
                break
        else:
            raise UrlError(f"unknown scheme {scheme!r}; known are {', '.join(schemes())}")
    _loaded[scheme] = entry
    return entry


def can_listen(url: ChannelUrl | str) -> bool:
    """Whether :func:`listen` works for this URL. Devices and commands are served by connecting again and again.

    Raises:
        UrlError: the URL is text that cannot be understood.
    """
    return hasattr(load(_parsed(url).scheme), "listen")


async def connect(
    url: ChannelUrl | str, protocol_factory: ProtocolFactory
) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
    """Open a channel; returns after the protocol's ``connection_made``.

    Cancelling leaves nothing open. There is no time-out in here: wrap the call in ``asyncio.timeout``.

    Args:
        url: the channel, parsed or as text.
        protocol_factory: makes the protocol (``asyncio.Protocol`` or ``asyncio.BufferedProtocol``) from the facts.

    Raises:
        UrlError: the URL cannot work.
        ChannelUnavailable: the channel cannot be opened; the message says what to do.
        ChannelBusy: another program holds the channel.
    """
    parsed = _parsed(url)
    return await load(parsed.scheme).connect(parsed, protocol_factory)


async def listen(url: ChannelUrl | str, protocol_factory: ProtocolFactory) -> Listener:
    """Accept connections, each with a new protocol, until the listener is closed.

    Raises:
        UrlError: the URL cannot work, or its scheme cannot listen (see :func:`can_listen`).
        ChannelUnavailable: the address cannot be had; the message says what to do.
        ChannelBusy: another program listens there.
    """
    parsed = _parsed(url)
    entry: Any = load(parsed.scheme)
    if not hasattr(entry, "listen"):
        raise UrlError(f"nothing can listen on {parsed.redacted()}: connect to it, and again after each session")
    listener: Listener = await entry.listen(parsed, protocol_factory)
    return listener


def _parsed(url: ChannelUrl | str) -> ChannelUrl:
    from .url import ChannelUrl  # noqa: PLC0415 - url.py needs this module

    return ChannelUrl.parse(url) if isinstance(url, str) else url


def _entry_points() -> Iterable[Any]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow, see above

    return entry_points(group=GROUP)
