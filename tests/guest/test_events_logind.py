"""Events of logind on a real bus (a private dbus-daemon); the real logind is asked in tests/vm."""

from __future__ import annotations

import asyncio
import shutil
import struct
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
from dbus_fast import Variant

from tests.guest.event_watching import LIMIT, watching
from tests.guest.fake_logind import FakeLogind
from tests.guest.fake_systemd import FakeSystemd
from tests.guest.message_bus import message_bus
from virtagent.guest import event_sources
from virtagent.guest.event_log import EventReader
from virtagent.guest.events_power import watch_power
from virtagent.guest.events_units import watch_units
from virtagent.guest.events_users import watch_users
from virtagent.guest.resources import Resources
from virtagent.guest.utmp import NARROW

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs dbus-daemon")


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with message_bus(tmp_path) as found:
        yield found


@pytest.fixture
async def logind(address: str) -> AsyncIterator[FakeLogind]:
    made = await FakeLogind().start(address)
    yield made
    made.stop()


async def test_users_who_log_in_and_out_are_told(address: str, logind: FakeLogind) -> None:
    logind.add("1", "root", 0, TTY=Variant("s", "tty1"))
    async with watching(partial(watch_users, address=address)) as watched:
        assert watched.source.state == "running"
        logind.log_in("2", "alice", RemoteHost=Variant("s", "10.0.0.9"), TTY=Variant("s", "pts/0"))
        event = await watched.next()
        assert event.kind == "user.login"
        alice = {
            "user": "alice",
            "uid": 1000,
            "session": "2",
            "terminal": "pts/0",
            "host": "10.0.0.9",
            "service": "sshd",
            "pid": 4711,
        }
        assert event.fields == alice
        logind.log_in("c1", "gdm", Class=Variant("s", "greeter"))  # not a user
        logind.log_out("c1")
        logind.log_out("2")
        assert (await watched.next())[2:] == ("user.logout", alice)
        logind.log_out("1")  # was there before
        event = await watched.next()
        assert (event.kind, event.fields["user"], event.fields["terminal"]) == ("user.logout", "root", "tty1")


async def test_a_shutdown_waits_until_the_event_has_been_handed_on(address: str, logind: FakeLogind) -> None:
    resources = Resources()
    async with watching(partial(watch_power, address=address), resources) as watched:
        assert logind.asked == [["shutdown:sleep", "virtagent", "to tell the host", "delay"]]
        reader = EventReader(resources.events, lambda kind: kind == "power.stopping", after=resources.events.last)
        logind.prepare("PrepareForShutdownWithMetadata", "ba{sv}", [True, {"type": Variant("s", "reboot")}])
        logind.prepare("PrepareForShutdown", "b", [True])
        release = asyncio.create_task(logind.released(0))
        event = await watched.next()
        assert (event.kind, event.fields) == ("power.stopping", {"type": "reboot"})
        ours = await asyncio.wait_for(reader.next(), LIMIT)
        assert ours is not None
        assert ours.number == event.number
        waiting = asyncio.create_task(watched.next())
        # Nobody has said that the first reader passed it on: the lock is held.
        await asyncio.sleep(0)
        assert not release.done()
        more = asyncio.create_task(reader.next())
        await asyncio.wait_for(release, LIMIT)
        logind.queue_job("reboot.target")
        event = await asyncio.wait_for(waiting, LIMIT)
        assert (event.kind, event.fields) == ("power.reboot", {"unit": "reboot.target"})
        more.cancel()
        reader.close()


async def test_a_shutdown_is_told_by_a_logind_that_says_little_and_called_off(address: str, logind: FakeLogind) -> None:
    async with watching(partial(watch_power, address=address)) as watched:
        waiting = asyncio.create_task(watched.next())
        logind.prepare("PrepareForShutdown", "b", [True])
        event = await waiting
        assert (event.kind, event.fields) == ("power.stopping", {})
        waiting = asyncio.create_task(watched.next())
        await asyncio.wait_for(logind.released(0), LIMIT)
        logind.prepare("PrepareForShutdown", "b", [False])
        while len(logind.locks) < 2:  # the lock is taken anew
            await asyncio.sleep(0)
        logind.scheduled = ("poweroff", int(time.time() * 1e6))
        logind.prepare("PrepareForShutdown", "b", [True])
        event = await waiting
        assert (event.kind, event.fields) == ("power.stopping", {"type": "poweroff"})
        waiting = asyncio.create_task(watched.next())
        logind.queue_job("cron.service")
        logind.queue_job("poweroff.target")
        assert (await waiting).kind == "power.shutdown"


async def test_a_sleep_and_its_end_are_told_and_the_lock_is_taken_anew(address: str, logind: FakeLogind) -> None:
    async with watching(partial(watch_power, address=address)) as watched:
        waiting = asyncio.create_task(watched.next())
        logind.prepare("PrepareForSleep", "b", [True])
        assert (await waiting)[2:] == ("power.suspend", {})
        waiting = asyncio.create_task(watched.next())
        await asyncio.wait_for(logind.released(0), LIMIT)
        logind.prepare("PrepareForSleep", "b", [False])
        event = await waiting
        assert event.kind == "power.resume"
        assert event.fields["slept"] >= 0
        while len(logind.locks) < 2:
            await asyncio.sleep(0)
        assert watched.source.state == "running"


async def test_elogind_without_systemd_serves_too(address: str) -> None:
    logind = await FakeLogind().start(address, systemd=False)
    async with watching(partial(watch_power, address=address)) as watched:
        assert watched.source.state == "running"
        waiting = asyncio.create_task(watched.next())
        logind.prepare("PrepareForShutdown", "b", [True])
        assert (await waiting).kind == "power.stopping"
    logind.stop()


async def test_a_bus_that_goes_is_told_and_another_one_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_sources, "FIRST_RETRY", 0.02)
    with message_bus(tmp_path) as address:
        logind = await FakeLogind().start(address)
        source = partial(watch_users, address=f"unix:path={tmp_path}/bus", utmp=str(tmp_path / "none"))
        context = watching(source)
        watched = await context.__aenter__()
        assert watched.source.state == "running"
    failed = await watched.next()
    assert failed.kind == "events.source_failed"
    assert "D-Bus was lost" in failed.fields["reason"]
    logind.stop()
    (tmp_path / "bus").unlink(missing_ok=True)
    with message_bus(tmp_path) as address:
        logind = await FakeLogind().start(address)
        assert (await watched.next()).kind == "events.source_started"
        logind.log_in("7", "bob")
        assert (await watched.next("user.login")).fields["user"] == "bob"
        await context.__aexit__(None, None, None)
        logind.stop()


async def test_without_a_bus_it_is_said_what_is_missing(tmp_path: Path) -> None:
    nowhere = f"unix:path={tmp_path}/nowhere"
    async with watching(partial(watch_power, address=nowhere)) as watched:
        assert watched.source.state == "unavailable"
        assert "no D-Bus here" in watched.source.detail
    async with watching(partial(watch_users, address=nowhere, utmp=str(tmp_path / "utmp"))) as watched:
        assert watched.source.state == "unavailable"
        assert "utmp cannot be watched" in watched.source.detail
    async with watching(partial(watch_units, address=nowhere)) as watched:
        assert watched.source.state == "unavailable"


def record(user: str, line: str, kind: int = 7) -> bytes:
    return NARROW.pack(kind, 0, line.encode(), b"", user.encode(), b"10.1.2.3", 0, 0, 0, 1, 0, bytes(16))


async def test_without_logind_utmp_tells_who_logs_in_and_out(tmp_path: Path) -> None:
    path = tmp_path / "utmp"
    path.write_bytes(record("root", "tty1"))
    nowhere = f"unix:path={tmp_path}/nowhere"
    async with watching(partial(watch_users, address=nowhere, utmp=str(path))) as watched:
        assert watched.source.state == "running"
        with path.open("ab") as file:
            file.write(record("alice", "pts/3"))
        event = await watched.next()
        assert (event.kind, event.fields) == (
            "user.login",
            {"user": "alice", "terminal": "pts/3", "host": "10.1.2.3"},
        )
        with path.open("r+b") as file:
            file.seek(struct.calcsize(NARROW.format))
            file.write(record("alice", "pts/3", kind=8))
        event = await watched.next()
        assert (event.kind, event.fields["user"]) == ("user.logout", "alice")


async def test_a_unit_that_fails_is_told_once_for_each_failure(address: str) -> None:
    systemd = await FakeSystemd().start(address)
    systemd.add("web.service", "active", "running")
    async with watching(partial(watch_units, address=address)) as watched:
        assert watched.source.state == "running", watched.source.detail
        systemd.change("web.service", "failed", "failed", Result="exit-code")
        systemd.change("web.service", "failed", "failed", Result="exit-code")
        event = await watched.next()
        assert event.fields == {"unit": "web.service", "state": "failed", "result": "exit-code"}
        systemd.change("web.service", "active", "running")
        systemd.change("web.service", "failed", "failed", Result="signal")
        assert (await watched.next()).fields["result"] == "signal"
    systemd.bus.disconnect()
