"""The service ``rpc``, which tells a peer what it can call here."""

from __future__ import annotations

import msgspec

from virtagent.errors import MethodNotFound
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
    """What this peer answers to."""

    def __init__(self, router: Router) -> None:
        self._router = router

    @method(inline=True, idempotent=True)
    async def methods(self, prefix: str = "") -> list[MethodSummary]:
        """The methods whose names start with a prefix, by name."""
        found = sorted((each for each in self._router if each.name.startswith(prefix)), key=lambda each: each.name)
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

    @method(inline=True, idempotent=True, errors=(MethodNotFound,))
    async def describe(self, method: str) -> MethodDescription:
        """Everything about one method: parameters with types, schemas and defaults, result, errors."""
        handler = self._router.get(method)
        if handler is None:
            names = [each.name for each in self._router]
            from difflib import get_close_matches  # noqa: PLC0415 - for mistakes only

            near = get_close_matches(method[:255], names, n=3)
            hint = f"; near are {', '.join(near)}" if near else ""
            raise MethodNotFound(f"no method {method[:255]!r}{hint}")
        return describe(handler)

    @method(inline=True, idempotent=True)
    async def services(self) -> list[ServiceSummary]:
        """The services: what stands before the last dot of the methods' names."""
        counts: dict[str, int] = {}
        for each in self._router:
            name = each.name.rpartition(".")[0]
            counts[name] = counts.get(name, 0) + 1
        return [ServiceSummary(name=name, methods=counts[name]) for name in sorted(counts)]
