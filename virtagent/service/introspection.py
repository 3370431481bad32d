"""The service ``rpc``, which tells a peer what it can call here."""

from __future__ import annotations

import asyncio

import msgspec

from virtagent.errors import MethodNotFound
from virtagent.peer.context import Context
from virtagent.peer.handler import Router
from virtagent.service.description import MethodDescription, describe
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = ["Introspection", "MethodSummary", "ServiceSummary"]


class MethodSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One method in a list; ``rpc.describe`` tells the rest."""

    name: str
    summary: str = ""
    stream: str | None = None
    idempotent: bool = False
    since: str | None = None


class ServiceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One service: its name, and how many methods it has."""

    name: str
    methods: int


class Introspection(Service, name="rpc"):
    """What this peer answers to.

    Args:
        router: the methods to tell of; None: those of the peer that is asked, so that one instance serves all peers.
    """

    def __init__(self, router: Router | None = None) -> None:
        self._router = router

    def _asked(self, ctx: Context | None) -> Router:
        if self._router is not None:
            return self._router
        assert ctx is not None
        return ctx.peer.router

    async def _all(self, ctx: Context | None) -> Router:
        """The methods, those of services included that nobody has called yet: one service in each turn of the loop."""
        router = self._asked(ctx)
        for service in router.unmade:
            router.make(service)
            await asyncio.sleep(0)
        return router

    @method(idempotent=True, role="observe")
    async def methods(self, prefix: str = "", *, ctx: Context | None = None) -> list[MethodSummary]:
        """The methods whose names start with a prefix, by name."""
        router = await self._all(ctx)
        found = sorted((each for each in router if each.name.startswith(prefix)), key=lambda each: each.name)
        return [
            MethodSummary(
                name=each.name,
                summary=(each.description or {}).get("summary", ""),
                stream=(each.description or {}).get("stream"),
                idempotent=each.idempotent,
                since=(each.description or {}).get("since"),
            )
            for each in found
        ]

    @method(inline=True, idempotent=True, role="observe", errors=(MethodNotFound,))
    async def describe(self, method: str, *, ctx: Context | None = None) -> MethodDescription:
        """Everything about one method: parameters with types, schemas and defaults, result, errors."""
        router = self._asked(ctx)
        handler = router.find(method)
        if handler is None:
            names = [each.name for each in router]
            from difflib import get_close_matches  # noqa: PLC0415 - for mistakes only

            near = get_close_matches(method[:255], names, n=3)
            hint = f"; near are {', '.join(near)}" if near else ""
            raise MethodNotFound(f"no method {method[:255]!r}{hint}")
        return describe(handler)

    @method(idempotent=True, role="observe")
    async def services(self, *, ctx: Context | None = None) -> list[ServiceSummary]:
        """The services: what stands before the last dot of the methods' names."""
        counts: dict[str, int] = {}
        for each in await self._all(ctx):
            name = each.name.rpartition(".")[0]
            counts[name] = counts.get(name, 0) + 1
        return [ServiceSummary(name=name, methods=counts[name]) for name in sorted(counts)]
