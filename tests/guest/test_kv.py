"""The service kv: host and guest's programs share it, over a socket and a disk as they are."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import virtagent
from virtagent.api.kv import Kv, KvChange
from virtagent.errors import (
    Aborted,
    CallError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from virtagent.guest import kv_store
from virtagent.guest.grants import Grant, Grants
from virtagent.guest.kv import KvService
from virtagent.guest.kv_file import StateFile
from virtagent.guest.kv_journal import HEADER, Record, encode
from virtagent.guest.resources import Resources
from virtagent.peer.context import Context

LIMIT = 30.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "kv.journal"


@pytest.fixture
def kv(path: Path) -> KvService:
    return KvService(path=str(path))


async def first(stream: AsyncIterator[KvChange]) -> KvChange:
    return await asyncio.wait_for(anext(stream), LIMIT)


async def told(stream: AsyncIterator[KvChange], count: int) -> list[tuple[str, str, bytes | None]]:
    items = [await first(stream) for _ in range(count)]
    return [(each.kind, each.key, each.value) for each in items]


async def test_what_is_set_is_there_and_after_a_start_too(kv: KvService, path: Path) -> None:
    with pytest.raises(NotFound, match="no key 'web/address'"):
        await kv.get("web/address")
    written = await kv.set("web/address", b"10.0.0.1")
    assert written.durable
    entry = await kv.get("web/address")
    assert (entry.value, entry.version, entry.time.tzinfo is not None) == (b"10.0.0.1", written.version, True)
    await kv.set("web/port", b"80")
    await kv.set("db", bytes(range(256)))
    assert (await kv.delete("web/port")).durable
    assert (await kv.delete("web/port")).version == 0
    again = KvService(path=str(path))
    assert [(each.key, each.value) async for each in again.list()] == [("db", None), ("web/address", None)]
    assert [(each.key, each.value) async for each in again.list("web/", values=True)] == [("web/address", b"10.0.0.1")]
    status = await again.status()
    assert (status.keys, status.path, status.damage, status.waiting) == (2, str(path), "", 0)
    assert status.bytes == len("db") + 256 + len("web/address") + len("10.0.0.1")


async def test_of_two_who_compare_and_set_one_wins(kv: KvService) -> None:
    created = await kv.set("leader", b"a", version=0)
    with pytest.raises(Aborted, match="has version 1, not 0") as refused:
        await kv.set("leader", b"b", version=0)
    assert refused.value.data == {"version": 1}
    results = await asyncio.gather(
        *(kv.set("leader", b"%d" % number, version=created.version) for number in range(20)), return_exceptions=True
    )
    assert sum(not isinstance(each, Aborted) for each in results) == 1
    with pytest.raises(Aborted, match="does not exist"):
        await kv.delete("other", version=3)


async def test_a_watch_begins_with_what_there_is_and_goes_on_with_changes(kv: KvService) -> None:
    await kv.set("a/1", b"x")
    await kv.set("b", b"y")
    watch, everything = kv.watch("a/"), kv.watch()
    assert await told(watch, 2) == [("current", "a/1", b"x"), ("ready", "", None)]
    assert await told(everything, 3) == [("current", "a/1", b"x"), ("current", "b", b"y"), ("ready", "", None)]
    waiting = asyncio.create_task(told(watch, 2))
    await asyncio.sleep(0)
    await kv.set("b", b"of no interest")
    await kv.set("a/2", b"z")
    await kv.delete("a/1")
    assert await waiting == [("set", "a/2", b"z"), ("deleted", "a/1", None)]
    for number in range(50):
        await kv.set("a/2", b"%d" % number)
    assert await told(watch, 1) == [("set", "a/2", b"49")]  # the last one is what counts
    for stream in (watch, everything):
        await stream.aclose()  # type: ignore[attr-defined]


async def test_a_watcher_who_was_too_slow_begins_anew(kv: KvService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_store, "KEPT_DELETIONS", 2)
    watch = kv.watch()
    assert await told(watch, 1) == [("ready", "", None)]
    for number in range(5):
        await kv.set(f"{number}", b"")
        await kv.delete(f"{number}")
    await kv.set("left", b"over")
    assert await told(watch, 3) == [("reset", "", None), ("current", "left", b"over"), ("ready", "", None)]
    await watch.aclose()  # type: ignore[attr-defined]


async def test_while_its_filesystem_is_frozen_changes_are_in_memory_and_written_after_the_thaw(path: Path) -> None:
    resources = Resources()
    kv = KvService(resources, path=str(path))
    assert (await kv.set("before", b"1")).durable
    content, device = path.read_bytes(), path.stat().st_dev
    resources.frozen.add(device, "/")
    resources.frozen.add(-1, "/other")
    assert not (await kv.set("during", b"2")).durable
    assert not (await kv.delete("before")).durable
    assert (await kv.get("during")).value == b"2"
    assert path.read_bytes() == content
    assert (await kv.status()).waiting == 2
    resources.frozen.discard(-1)  # another one
    thread = threading.Thread(target=resources.frozen.discard, args=[device])
    thread.start()
    while (await kv.status()).waiting:
        await asyncio.sleep(0)
    thread.join()
    again = KvService(path=str(path))
    assert [each.key async for each in again.list()] == ["during"]
    assert (await kv.set("after", b"3")).durable


async def test_what_waits_for_a_thaw_is_written_when_the_agent_goes(path: Path) -> None:
    resources = Resources()
    kv = KvService(resources, path=str(path))
    await kv.set("a", b"1")
    device = path.stat().st_dev
    resources.frozen.add(device, "/")
    await kv.set("b", b"2")
    watch = kv.watch()
    await told(watch, 3)
    resources.frozen._devices.clear()  # thawed by the watchdog child
    await resources.stop("stop", "the agent was stopped")
    with pytest.raises(Unavailable, match="the agent was stopped"):
        await first(watch)
    assert [each.key async for each in KvService(path=str(path)).list()] == ["a", "b"]
    await watch.aclose()  # type: ignore[attr-defined]


async def test_a_damaged_file_is_told_and_kept(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    damaged = bytearray(HEADER + encode([Record(number, 0.0, f"{number}", b"value") for number in (1, 2, 3)]))
    damaged[30] ^= 1
    path.write_bytes(damaged)
    kv = KvService(path=str(path))
    assert [each.key async for each in kv.list()] == ["2", "3"]
    status = await kv.status()
    assert f"a copy is in {path}.damaged-" in status.damage
    assert "is damaged" in caplog.text
    (copy,) = path.parent.glob("*.damaged-*")
    assert copy.read_bytes() == damaged


class FailingFile(StateFile):
    """A disk that is full, or worse, while it is told so."""

    error: OSError | None = None

    def append(self, data: bytes, size: int) -> None:
        if self.error is not None:
            raise self.error
        super().append(data, size)


@pytest.mark.parametrize(("number", "expected"), [(28, ResourceExhausted), (13, PermissionDenied), (30, CallError)])
async def test_what_cannot_be_written_is_not_there(path: Path, number: int, expected: type[CallError]) -> None:
    file = FailingFile(str(path))
    kv = KvService(path=str(path), file=file)
    await kv.set("a", b"1")
    file.error = OSError(number, os.strerror(number))
    with pytest.raises(expected):
        await kv.set("a", b"2")
    assert (await kv.get("a")).value == b"1"
    file.error = None
    assert (await kv.set("a", b"3")).durable
    assert (await KvService(path=str(path)).get("a")).value == b"3"


async def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    kv = KvService(path=str(tmp_path / "file" / "kv.journal"))
    with pytest.raises(CallError, match="file"):
        await kv.set("a", b"")


async def test_a_write_whose_caller_has_gone_is_whole(kv: KvService, path: Path) -> None:
    await kv.set("a", b"1")
    for number in range(20):
        task = asyncio.create_task(kv.set("a", b"%d" % number))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    last = await kv.set("last", b"")
    now = await kv.get("a")
    again = KvService(path=str(path))
    assert await again.get("a") == now
    assert (await again.get("last")).version == last.version


async def test_keys_that_are_none_and_too_many_watches_are_refused(path: Path) -> None:
    class Peer:
        """What a grant hangs on."""

    kv = KvService(Resources(grants=Grants(lambda _: (Grant(watches=1), None))), path=str(path))
    for call in (kv.get("a\n"), kv.set("a\n", b""), kv.delete("a\n")):
        with pytest.raises(InvalidArgument, match="control characters"):
            await call
    peer = Peer()
    context = Context(peer, "kv.watch", lambda: 0.0)  # type: ignore[arg-type]
    watch: Any = kv.watch(ctx=context)
    with pytest.raises(ResourceExhausted, match="1 watches"):
        kv.watch(ctx=context)
    await watch.aclose()
    await kv.watch(ctx=context).aclose()  # type: ignore[attr-defined]


def start_agent(directory: Path) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "VIRTAGENT_RUNTIME_DIR": str(directory),
        "VIRTAGENT_STATE_DIR": str(directory / "state"),
    }
    command = [sys.executable, "-W", "error", "-m", "virtagent.cli.daemon", "--log-level", "error"]
    sockets = ["--channel", f"unix:{directory}/host.sock", "--channel", f"unix:{directory}/agent.sock?mode=0660"]
    return subprocess.Popen([*command, *sockets], env=environment)


async def test_host_and_guest_share_it_and_it_survives_the_death_of_the_agent(tmp_path: Path) -> None:
    agent = start_agent(tmp_path)
    acknowledged = -1
    try:
        host = virtagent.connect(f"unix:{tmp_path}/host.sock", wait=True, timeout=LIMIT)
        program = virtagent.connect(f"unix:{tmp_path}/agent.sock", wait=True, timeout=LIMIT)
        async with host as outside, program as inside:
            kv: Kv = inside.kv
            changes = outside.kv.watch("state/")
            assert (await first(changes)).kind == "ready"
            await kv.set("state/web", b"up")
            change = await first(changes)
            assert (change.kind, change.key, change.value) == ("set", "state/web", b"up")
            assert (await outside.kv.get("state/web")).value == b"up"
            await changes.aclose()  # type: ignore[attr-defined]

            async def kill_while_writing() -> None:
                nonlocal acknowledged
                for number in range(100_000):
                    await outside.kv.set("count", b"%d" % number)
                    acknowledged = number
                    if number == 200:
                        agent.send_signal(signal.SIGKILL)

            with pytest.raises(virtagent.SessionLost):
                await kill_while_writing()
    finally:
        agent.kill()
        agent.wait(LIMIT)
    assert acknowledged >= 200
    agent = start_agent(tmp_path)
    try:
        async with virtagent.connect(f"unix:{tmp_path}/host.sock", wait=True, timeout=LIMIT) as guest:
            count = int((await guest.kv.get("count")).value or b"")
            assert acknowledged <= count <= acknowledged + 1
            assert (await guest.kv.status()).damage == ""
    finally:
        agent.terminate()
        agent.wait(LIMIT)
