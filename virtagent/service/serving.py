"""Serving: services on a channel, with introspection on every peer.

``listen`` lives here, below both ``host`` and ``guest``, since either side may serve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from virtagent.peer.handler import Handler, Router
from virtagent.peer.identity import local_identity
from virtagent.peer.listening import MOST_PEERS, Listening
from virtagent.peer.options import PeerOptions
from virtagent.peer.peer import Peer
from virtagent.service.description import schema_digest
from virtagent.service.introspection import Introspection
from virtagent.service.service import Service, handlers_of

__all__ = ["listen", "peer_options", "router_of"]


def router_of(
    services: Iterable[Service] = (),
    handlers: Iterable[Handler] = (),
    *,
    later: Mapping[str, Callable[[], Iterable[Handler]]] | None = None,
) -> Router:
    """The methods of services, further handlers, and the service ``rpc``, which tells of all of them.

    Args:
        later: what makes the handlers of services that are made when they are wanted, by the services' names.

    Raises:
        UsageError: two methods have the same name, or something is no service.
    """
    router = Router(handlers, later)
    for service in services:
        for handler in handlers_of(service):
            router.add(handler)
    for handler in _introspection():
        router.add(handler)
    return router


@cache
def _introspection() -> list[Handler]:
    return handlers_of(Introspection())


def peer_options(
    options: PeerOptions | None,
    router: Router,
    *,
    role: str,
    name: str = "",
    deadline: float | None = None,
    keepalive: float | None = None,
    digest: str = "",
) -> PeerOptions:
    """Options whose identity tells the digest of the methods; ``deadline`` and ``keepalive`` (seconds) go over them.

    Args:
        digest: that of the methods, where it is known; "": it is made from them.
    """
    identity = options.identity if options is not None else None
    if identity is None:
        identity = local_identity(role=role, name=name, digest=digest or schema_digest(router))
    elif not identity.digest:
        identity = identity._replace(digest=digest or schema_digest(router))
    changes: dict[str, Any] = {"identity": identity}
    if deadline is not None:
        changes["deadline"] = deadline
    if keepalive is not None:
        changes["keepalive"] = keepalive
    return PeerOptions(**changes) if options is None else options._replace(**changes)


def listen(
    url: str,
    *,
    services: Iterable[Service] = (),
    handlers: Iterable[Handler] = (),
    on_peer: Callable[[Peer], None] | None = None,
    role: str = "",
    name: str = "",
    deadline: float | None = None,
    keepalive: float | None = None,
    options: PeerOptions | None = None,
    most_peers: int = MOST_PEERS,
) -> Listening:
    """Serve a channel: ``async with virtagent.listen("unix:/run/backup.sock", services=[Backup()]): ...``.

    Clients of a socket are a peer each. A device (virtio port, serial line) or a command has one peer, which comes
    and goes; entering the block waits until a device's other end is there.

    Args:
        url: the channel.
        services: what peers may call; ``rpc`` (``rpc.methods``, ``rpc.describe``) is always there.
        handlers: further methods.
        on_peer: called with each new peer, before its session.
        role, name: who this side says it is ("guest", "web1"); the name is the host name by default.
        deadline: seconds, of a call that states none (rule D1); 60 by default.
        keepalive: seconds; the longest time this side stays quiet (rule K1); 5 by default, 0: no promise.
        options: the rest of this side's behaviour.
        most_peers: clients served at a time.

    Raises:
        UsageError: a service that cannot be served, two methods of one name.
        ChannelError, UrlError: (when entered) the channel cannot be served.
    """
    router = router_of(services, handlers)
    options = peer_options(options, router, role=role, name=name, deadline=deadline, keepalive=keepalive)
    return Listening(url, router, options, on_peer=on_peer, most_peers=most_peers)
