"""``virtagent.connect``: a guest by URL or by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from virtagent.host.discovery import resolve
from virtagent.host.guest import Guest
from virtagent.host.registry import without_dialect
from virtagent.peer.connecting import CONNECT_TIMEOUT, Connecting
from virtagent.peer.handler import Handler
from virtagent.peer.options import PeerOptions
from virtagent.service.service import Service
from virtagent.service.serving import peer_options, router_of

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__all__ = ["connect"]


def connect(
    url: str,
    *,
    services: Iterable[Service] = (),
    handlers: Iterable[Handler] = (),
    timeout: float | None = CONNECT_TIMEOUT,
    wait: bool = False,
    name: str = "",
    deadline: float | None = None,
    keepalive: float | None = None,
    options: PeerOptions | None = None,
    tracing: bool | TracerProvider = False,
) -> Connecting[Guest]:
    """Connect to a guest: ``async with virtagent.connect("web1") as guest``, or ``await`` it and ``aclose()`` later.

    The guest is up when this returns. After a loss it is connected to again by itself, and calls wait for that
    within their deadlines.

    Args:
        url: a channel URL, or the name of a guest in ``~/.config/virtagent/guests.toml`` or of a libvirt domain.
        services: what the guest may call here; ``rpc`` is always there.
        handlers: further methods.
        timeout: seconds in which the guest must be up; None: for as long as it takes.
        wait: a channel that cannot be opened yet is tried again within the timeout, instead of failing at once.
        name: who this side says it is; the host name by default.
        deadline: seconds, of a call that states none (rule D1); 60 by default.
        keepalive: seconds; the longest time this side stays quiet (rule K1); 5 by default, 0: no promise.
        options: the rest of this side's behaviour.
        tracing: make an OpenTelemetry span of each call, of which the guest is told: with a provider of one's own, or
            that of the process (True). Needs the extra ``otel``.

    Raises:
        UsageError: no such guest, a broken configuration, a service that cannot be served.
        ChannelError, UrlError: (when entered or awaited) no channel; NobodyAnswers: no agent answered in time.
    """
    address, plain = without_dialect(resolve(url))
    router = router_of(services, handlers)
    told = peer_options(options, router, role="host", name=name, deadline=deadline, keepalive=keepalive)
    make: Callable[..., Guest] = Guest
    if tracing is not False:
        from virtagent.host.traced import TracedGuest  # noqa: PLC0415 - only where it is asked for

        make = partial(TracedGuest, provider=None if tracing is True else tracing)
    return Connecting(lambda: make(address, router, told, plain=plain), timeout=timeout, wait=wait)
