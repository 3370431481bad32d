"""The typed service whose calls are compared with untyped ones: three validated arguments and a validated result."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from virtagent.peer.context import Context
from virtagent.peer.handler import Handler
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = ["ARGUMENTS", "RecordStore", "untyped_handlers"]

Level = Annotated[int, msgspec.Meta(ge=0, le=9)]

ARGUMENTS: dict[str, Any] = {"name": "/var/lib/records/one", "data": b"x" * 64, "level": 5}
"""What every call sends, typed or not."""


class RecordStore(Service, name="typed"):
    """Gives back what it would store."""

    async def store(self, name: str, data: bytes, *, level: Level = 3) -> bytes:
        """Validated, in a task."""
        return data

    @method(inline=True)
    async def store_inline(self, name: str, data: bytes, *, level: Level = 3) -> bytes:
        """Validated, in the read path."""
        return data


def untyped_handlers() -> list[Handler]:
    """The same two methods as bare handlers; names of the same length, so that the messages are equally long."""

    async def store(context: Context, params: Any) -> Any:
        return params["data"]

    def store_inline(context: Context, params: Any) -> Any:
        return params["data"]

    return [
        Handler("plain.store", "task", store),
        Handler("plain.store_inline", "inline", store_inline),
    ]
