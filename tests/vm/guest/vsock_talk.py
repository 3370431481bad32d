#!/usr/bin/python3
"""Two peers on a vsock inside one machine: prints what each step gave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import virtagent
from virtagent import Context, Service


class Far(Service, name="far"):
    """Served by the listening side."""

    async def double(self, number: int, *, ctx: Context) -> int:
        """Let the caller add, and double what it gives."""
        total: int = await ctx.peer.call("near.add", left=number, right=1)
        return 2 * total

    async def echo(self, data: bytes) -> bytes:
        """Return what came."""
        return data

    async def numbers(self, count: int) -> AsyncIterator[int]:
        """Count."""
        for number in range(count):
            yield number


class Near(Service, name="near"):
    """Served by the connecting side."""

    def __init__(self) -> None:
        self.last = 0

    async def add(self, left: int, right: int) -> int:
        """Add."""
        self.last = 2 * (left + right)
        return left + right


async def main() -> None:
    """Listen, connect, call, stream, say goodbye."""
    async with asyncio.timeout(60):
        listener = await virtagent.listen("vsock:any:5000", services=[Far()]).start()
        print(f"listening on {listener.url}")
        near = Near()
        async with virtagent.connect("vsock:local:5000", services=[near]) as peer:
            print(f"answer {await peer.call('far.double', number=20)}, called back {near.last}")
            print(f"{len(await peer.call('far.echo', data=bytes(4 << 20)))} bytes there and back")
            items = [item async for item in peer.stream("far.numbers", count=100)]
            assert items == list(range(100))
            print(f"stream of {len(items)} items")
            states = peer.states()
            await anext(states)
            await listener.aclose("stop")
            await anext(states)
            try:
                await peer.with_options(deadline=0.5).call("far.double", number=1)
            except virtagent.VirtagentError:
                print(f"goodbye: {type(peer._last_loss).__name__} {getattr(peer._last_loss, 'reason', '')}")
        try:
            await virtagent.connect("vsock:local:5001")
        except virtagent.ChannelUnavailable as error:
            print(f"nobody: {error}")


asyncio.run(main())
