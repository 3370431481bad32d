"""A drop-in service of the guest's agent, and what makes the agent's behaviour visible to tests."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from typing import Any

from virtagent import Context, Service

RUN = uuid.uuid4().hex
"""Tells one start of this process from another; a restored clone has the same."""


class Probe(Service, name="probe"):
    """Calls back, waits, counts and floods."""

    def __init__(self) -> None:
        self._streamed = 0
        self._count = 0

    async def echo(self, value: Any) -> Any:
        """Return what came."""
        return value

    async def who(self) -> dict[str, Any]:
        """Which process of which boot answers."""
        with open("/proc/sys/kernel/random/boot_id") as file:
            return {"pid": os.getpid(), "run": RUN, "boot": file.read().strip()}

    async def relay(self, method: str, params: dict[str, Any], *, ctx: Context) -> Any:
        """Call a method of the caller and return its answer."""
        return await ctx.peer.call(method, **params)

    async def hold(self, token: str, *, ctx: Context) -> str:
        """Say on the caller's side that this call has begun, and never answer."""
        ctx.peer.notify("desk.begun", token=token)
        await asyncio.sleep(3600)
        return token

    async def after(self, seconds: float, token: str, *, ctx: Context) -> str:
        """Say on the caller's side that this call has begun, and return its token after some guest time."""
        ctx.peer.notify("desk.begun", token=token)
        await asyncio.sleep(seconds)
        return token

    async def count(self) -> int:
        """How often this was called in this process, this call included."""
        self._count += 1
        return self._count

    async def size(self, data: bytes) -> int:
        """The number of bytes that came."""
        return len(data)

    async def flood(self, pieces: int) -> AsyncIterator[bytes]:
        """Pieces of 64 KiB, each filled with its number, as fast as they are taken."""
        self._streamed = 0
        for number in range(pieces):
            yield number.to_bytes(4, "big") * 16384
            self._streamed += 1

    async def streamed(self) -> int:
        """How many pieces of the newest flood were taken from its generator."""
        return self._streamed
