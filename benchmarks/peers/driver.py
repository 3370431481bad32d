"""How the workloads are done with an asyncio client, and with a blocking one."""

from __future__ import annotations

import asyncio
import inspect
import time
from types import ModuleType
from typing import Any, Protocol

__all__ = ["Driver", "driver_of"]


class Driver(Protocol):
    """One client at work. Times are seconds."""

    async def sequential(self, method: str, payload: bytes, seconds: float) -> list[float]:
        """Calls one after the other for some seconds; how long each took."""

    async def in_flight(self, method: str, payload: bytes, seconds: float, width: int) -> tuple[int, float]:
        """Calls with ``width`` of them in flight for some seconds; how many, and how long it took in all."""

    async def stream(self, total: int) -> float:
        """So many bytes one way; how long it took."""

    async def close(self) -> None: ...


class AsyncioDriver:
    def __init__(self, client: Any) -> None:
        self.client = client

    async def sequential(self, method: str, payload: bytes, seconds: float) -> list[float]:
        call, clock = getattr(self.client, method), time.perf_counter
        check(await call(payload), payload)
        samples = []
        end = clock()
        deadline = end + seconds
        while end < deadline:
            start = clock()
            await call(payload)
            end = clock()
            samples.append(end - start)
        return samples

    async def in_flight(self, method: str, payload: bytes, seconds: float, width: int) -> tuple[int, float]:
        call, clock = getattr(self.client, method), time.perf_counter
        start = clock()
        deadline = start + seconds

        async def worker() -> int:
            count = 0
            while clock() < deadline:
                await call(payload)
                count += 1
            return count

        counts = await asyncio.gather(*(worker() for _ in range(width)))
        return sum(counts), clock() - start

    async def stream(self, total: int) -> float:
        start = time.perf_counter()
        check_total(await self.client.stream(total), total)
        return time.perf_counter() - start

    async def close(self) -> None:
        await self.client.close()


class BlockingDriver:
    def __init__(self, client: Any) -> None:
        self.client = client

    async def sequential(self, method: str, payload: bytes, seconds: float) -> list[float]:
        call, clock = getattr(self.client, method), time.perf_counter
        check(call(payload), payload)
        samples = []
        end = clock()
        deadline = end + seconds
        while end < deadline:
            start = clock()
            call(payload)
            end = clock()
            samples.append(end - start)
        return samples

    async def in_flight(self, _: str, payload: bytes, seconds: float, width: int) -> tuple[int, float]:
        start = time.perf_counter()
        count = self.client.pipelined(payload, seconds, width)
        return count, time.perf_counter() - start

    async def stream(self, total: int) -> float:
        start = time.perf_counter()
        check_total(self.client.stream(total), total)
        return time.perf_counter() - start

    async def close(self) -> None:
        self.client.close()


def check(answer: Any, payload: bytes) -> None:
    """An echo that does not echo is a failure, not a result. A bare echo (None) counted the bytes itself."""
    if answer is not None and len(answer) != len(payload):
        raise RuntimeError(f"the echo of {len(payload)} bytes has {len(answer)}")


def check_total(received: int, total: int) -> None:
    if received != total:
        raise RuntimeError(f"{received} of {total} bytes of the stream came")


async def driver_of(module: ModuleType, address: str) -> Driver:
    """The driver of a peer's client, connected."""
    if hasattr(module, "driver"):
        made: Driver = module.driver(address)
        return made
    client = module.connect(address)
    if inspect.isawaitable(client):
        return AsyncioDriver(await client)
    return BlockingDriver(client)
