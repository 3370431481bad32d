"""Freezes as a host holds them; the guest's watchdog process is real but for the two system calls."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

import virtagent
from tests.guest.freeze_fakes import Freezer
from virtagent import Aborted, NotFound, UsageError
from virtagent.guest import freezes
from virtagent.guest.configuration import Configuration, StorageSection
from virtagent.guest.resources import Resources
from virtagent.guest.storage import StorageService

LIMIT = 30.0
Connect = Callable[[], AbstractAsyncContextManager[virtagent.Guest]]


@pytest.fixture
def freezer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Freezer:
    monkeypatch.setenv("VIRTAGENT_RUNTIME_DIR", str(tmp_path / "runtime"))
    made = Freezer(tmp_path, monkeypatch)

    def choose(wanted: list[str] | None) -> list[object]:
        names = [os.path.basename(each) for each in wanted or ("a", "b")]
        if "nothing" in names:
            raise NotFound("nothing is mounted at /nothing")
        return [made.target(each) for each in names]

    monkeypatch.setattr(freezes, "choose_targets", choose)
    return made


@pytest.fixture
def connect(tmp_path: Path, freezer: Freezer) -> Connect:
    @asynccontextmanager
    async def connected() -> AsyncIterator[virtagent.Guest]:
        url = f"unix:{tmp_path}/guest.sock"
        service = StorageService(Resources(Configuration(storage=StorageSection(hooks=()))))
        serving = virtagent.listen(url, services=[service])
        async with asyncio.timeout(LIMIT), serving, virtagent.connect(url) as guest:
            yield guest

    return connected


async def test_a_block_holds_what_it_froze_and_thaws_it(connect: Connect, freezer: Freezer) -> None:
    async with connect() as guest:
        async with guest.storage.freeze(["/a", "/b"], deadline=20) as lease:
            assert lease.frozen == [str(freezer.folder / "a"), str(freezer.folder / "b")]
            assert lease.left_out == []
            assert lease.lost is None
            assert freezer.told() == ["freeze a 0", "freeze b 0"]
        assert freezer.told()[2:] == ["thaw b 0", "thaw a 0"]
        assert lease.state.ended == "thawed"


async def test_a_block_that_fails_thaws_and_its_own_error_counts(connect: Connect, freezer: Freezer) -> None:
    async with connect() as guest:
        with pytest.raises(ZeroDivisionError):
            async with guest.storage.freeze(["/a"]):
                raise ZeroDivisionError
        assert freezer.told()[-1] == "thaw a 0"


async def test_a_block_that_is_cancelled_thaws(connect: Connect, freezer: Freezer) -> None:
    async with connect() as guest:
        entered = asyncio.Event()

        async def hold() -> None:
            async with guest.storage.freeze(["/a"]):
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(hold())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert freezer.told()[-1] == "thaw a 0"


async def test_a_block_that_outlives_its_lease_is_told_at_its_end(connect: Connect) -> None:
    async with connect() as guest:
        with pytest.raises(Aborted, match="not consistent.*deadline passed"):
            async with guest.storage.freeze(["/a"], deadline=0.2) as lease:
                assert await lease.wait_lost(LIMIT)
        assert lease.lost is not None


async def test_a_lease_that_holds_is_not_lost(connect: Connect) -> None:
    async with connect() as guest, guest.storage.freeze(["/a"]) as lease:
        assert not await lease.wait_lost(0.01)
        await lease.renew(500)
        assert lease.state.remaining > 400


async def test_somebody_else_s_thaw_is_told(connect: Connect) -> None:
    async with connect() as guest:
        with pytest.raises(Aborted, match="somebody else"):
            async with guest.storage.freeze(["/a"]):
                await guest.storage.thaw()


async def test_a_filesystem_that_was_thawed_behind_its_back_is_told(connect: Connect, freezer: Freezer) -> None:
    async with connect() as guest:
        with pytest.raises(Aborted, match="somebody else had thawed it before"):
            async with guest.storage.freeze(["/a"]):
                (freezer.folder / "a" / "thaw-errno").write_text("22")


async def test_a_lost_session_thaws_and_is_told(connect: Connect, freezer: Freezer) -> None:
    async with connect() as guest:
        with pytest.raises(Aborted):  # noqa: PT012 - leaving the block raises
            async with guest.storage.freeze(["/a"], deadline=500) as lease:
                assert guest.channel is not None
                guest.channel.close()
                assert await lease.wait_lost(LIMIT)
                while "thaw a 0" not in freezer.told():
                    await asyncio.sleep(0.01)
        await guest.wait_ready(LIMIT)
        assert await guest.storage.freezes() == []


async def test_what_cannot_be_frozen_raises_at_the_beginning(connect: Connect, freezer: Freezer) -> None:
    async with connect() as guest:
        with pytest.raises(NotFound, match="nothing is mounted"):
            await guest.storage.freeze(["/nothing"]).__aenter__()
        assert freezer.told() == []


async def test_mistakes_are_told_before_anything_is_sent(connect: Connect) -> None:
    async with connect() as guest:
        with pytest.raises(UsageError, match=r"freeze\(\['/srv'\]\)"):
            guest.storage.freeze("/srv")
        with pytest.raises(UsageError, match="3600"):
            guest.storage.freeze(deadline=1e6)


async def test_a_handle_with_options_freezes_too(connect: Connect, freezer: Freezer) -> None:
    async with connect() as guest:
        async with guest.with_options(deadline=20).storage.freeze(["/a"]):
            pass
        assert freezer.told() == ["freeze a 0", "thaw a 0"]
        assert {"freeze", "thaw", "disks"} <= set(dir(guest.storage))
