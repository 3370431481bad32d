"""``guest.kv.follow``: a watch that outlives sessions, and ends when it is to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import virtagent
from virtagent.api.kv import KvChange
from virtagent.errors import PermissionDenied
from virtagent.guest.kv import KvService

LIMIT = 30.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/agent.sock"


@asynccontextmanager
async def serving(url: str, kv: KvService) -> AsyncIterator[None]:
    """Serve, until the block ends all sessions."""
    async with virtagent.listen(url, services=[kv]) as listening:
        yield
        await listening.aclose(drain=0.0)


async def told(changes: AsyncIterator[KvChange], count: int) -> list[tuple[str, str]]:
    async with asyncio.timeout(LIMIT):
        items = [await anext(changes) for _ in range(count)]
    return [(each.kind, each.key) for each in items]


async def test_after_a_loss_what_there_is_is_told_anew(url: str, tmp_path: Path) -> None:
    kv = KvService(path=str(tmp_path / "kv.journal"))
    await kv.set("a", b"1")
    async with serving(url, kv):
        guest = await virtagent.connect(url)
        changes = guest.kv.follow()
        assert await told(changes, 2) == [("current", "a"), ("ready", "")]
        await guest.kv.set("b", b"2")
        assert await told(changes, 1) == [("set", "b")]
    await kv.delete("a")
    again = KvService(path=str(tmp_path / "kv.journal"))  # as after the agent's restart
    async with serving(url, again):
        assert await told(changes, 3) == [("reset", ""), ("current", "b"), ("ready", "")]
        await guest.kv.delete("b")
        assert await told(changes, 1) == [("deleted", "b")]
        await changes.aclose()  # type: ignore[attr-defined]
        await guest.aclose()


async def test_closing_the_guest_ends_it(url: str, tmp_path: Path) -> None:
    kv = KvService(path=str(tmp_path / "kv.journal"))
    async with serving(url, kv):
        guest = await virtagent.connect(url)
        changes = guest.kv.follow()
        assert await told(changes, 1) == [("ready", "")]
        waiting = asyncio.ensure_future(anext(changes))
        await guest.aclose()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, LIMIT)


async def test_a_refusal_is_raised(url: str, tmp_path: Path) -> None:
    class Refuses(KvService):
        """An agent whose policy forbids it."""

        def watch(self, prefix: str = "") -> AsyncIterator[KvChange]:  # type: ignore[override]
            raise PermissionDenied("not for you")

    async with serving(url, Refuses(path=str(tmp_path / "kv.journal"))), virtagent.connect(url) as guest:
        with pytest.raises(PermissionDenied, match="not for you"):
            await anext(guest.kv.follow())
        assert {"get", "set", "watch", "follow"} <= set(dir(guest.kv))
