"""The serving end of a point: ``python -m benchmarks.growth.server PATH``; says "ready" when it listens."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.growth.limits import LIMITS
from benchmarks.growth.process import reset_peak, usage
from virtagent.peer.handler import Handler
from virtagent.peer.listening import Listening
from virtagent.peer.options import PeerOptions
from virtagent.peer.stream import OutgoingStream

__all__ = ["OPTIONS"]

OPTIONS = PeerOptions(limits=LIMITS, keepalive=0.2)
"""A short keepalive: what large messages leave behind is given back with its timer."""

CHUNK = bytes(256 * 1024)


class Held:
    """Handlers and streams that wait until they are let go."""

    def __init__(self) -> None:
        self.count = 0
        self._let_go = asyncio.Event()
        self._next = asyncio.Event()

    async def call(self, _: object, params: Any) -> Any:
        """A call that stays open."""
        self.count += 1
        let_go = self._let_go
        await let_go.wait()
        self.count -= 1
        return params

    async def items(self) -> AsyncIterator[int]:
        """A stream that stays open, and gives one item each time all streams are told to."""
        self.count += 1
        number = 0
        try:
            while True:
                told, let_go = self._next, self._let_go
                await told.wait()
                if let_go.is_set():
                    return
                number += 1
                yield number
        finally:
            self.count -= 1

    def publish(self, _: object, __: object) -> None:
        """Every open stream gives its next item."""
        told, self._next = self._next, asyncio.Event()
        told.set()

    def let_go(self, _: object, __: object) -> None:
        """All calls and streams end."""
        let_go, self._let_go = self._let_go, asyncio.Event()
        told, self._next = self._next, asyncio.Event()
        let_go.set()
        told.set()


async def chunks(total: int) -> AsyncIterator[bytes]:
    """So many bytes."""
    while total > 0:
        yield CHUNK if total >= len(CHUNK) else bytes(total)
        total -= len(CHUNK)


def weigh(_: object, params: Any) -> Any:
    """What this process weighs; with ``collect`` after collecting garbage."""
    return usage(collect=bool(params and params.get("collect")))


async def serve(path: str) -> None:
    held = Held()
    handlers = [
        Handler("echo", "inline", lambda _, params: params),
        Handler("hold", "task", held.call),
        Handler("source", "inline", lambda _, params: OutgoingStream(chunks(params["total"]), "bytes")),  # type: ignore[call-overload]
        Handler("items", "inline", lambda _, __: OutgoingStream(held.items(), "items")),
        Handler("publish", "inline", held.publish),
        Handler("let_go", "inline", held.let_go),
        Handler("held", "inline", lambda _, __: held.count),
        Handler("weigh", "inline", weigh),
        Handler("reset_peak", "inline", lambda _, __: reset_peak()),
    ]
    async with Listening(f"unix:{path}", handlers, OPTIONS) as listening:
        print("ready", flush=True)
        await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
