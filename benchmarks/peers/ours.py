"""This library, as its own documentation advises: ``virtagent.connect`` and ``virtagent.listen``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import virtagent
from benchmarks.peers.peer import CHUNK, Ready
from virtagent.peer.handler import Handler

__all__ = ["connect", "serve"]


async def chunks(total: int) -> AsyncIterator[bytes]:
    chunk = bytes(CHUNK)
    for _ in range(total // CHUNK):
        yield chunk


async def echo(_: Any, params: Any) -> Any:
    return params["data"]


HANDLERS = [
    Handler("echo", "inline", lambda _, params: params["data"]),  # type: ignore[call-overload]
    Handler("coroutine", "task", echo),
    Handler("chunks", "inline", lambda _, params: virtagent.OutgoingStream(chunks(params["total"]), "bytes")),  # type: ignore[call-overload]
]


async def serve(address: str, ready: Ready) -> None:
    async with virtagent.listen(f"unix:{address}", handlers=HANDLERS) as listening:
        ready()
        await listening.serve_forever()


class Client:
    def __init__(self, guest: virtagent.Guest) -> None:
        self.guest = guest

    async def call(self, payload: bytes) -> Any:
        return await self.guest.call("echo", data=payload)

    async def coroutine(self, payload: bytes) -> Any:
        return await self.guest.call("coroutine", data=payload)

    async def stream(self, total: int) -> int:
        received = 0
        async with self.guest.stream("chunks", total=total) as stream:
            async for chunk in stream:
                received += len(chunk)
        return received

    async def close(self) -> None:
        await self.guest.aclose()


async def connect(address: str) -> Client:
    return Client(await virtagent.connect(f"unix:{address}"))
