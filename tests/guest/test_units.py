from __future__ import annotations

import asyncio
import string
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.guest.fake_systemd import FakeSystemd
from tests.guest.message_bus import message_bus
from virtagent.api.units import UnitName, UnitPattern
from virtagent.errors import (
    Aborted,
    CallError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from virtagent.guest.units import UnitsService, full_name


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with message_bus(tmp_path_factory.mktemp("bus")) as made:
        yield made


@pytest.fixture
async def systemd(address: str) -> AsyncIterator[FakeSystemd]:
    fake = await FakeSystemd().start(address)
    yield fake
    fake.bus.disconnect()
    await fake.bus.wait_for_disconnect()  # type: ignore[no-untyped-call]


@pytest.fixture
def units(address: str, systemd: FakeSystemd) -> UnitsService:
    return UnitsService(address=address)


async def test_units_are_listed_by_name_and_chosen_by_pattern_type_and_state(
    systemd: FakeSystemd, units: UnitsService
) -> None:
    systemd.add("ssh.service", "active", "running", Job=[1, "/org/freedesktop/systemd1/job/1"])
    systemd.add("ssh.socket", "inactive", "dead")
    systemd.add("a.mount", "active", "mounted")
    assert [each.name for each in await units.list()] == ["a.mount", "ssh.service", "ssh.socket"]
    assert [each.name for each in await units.list(patterns=["ssh*"])] == ["ssh.service", "ssh.socket"]
    assert [each.name for each in await units.list(types=["mount", "socket"])] == ["a.mount", "ssh.socket"]
    (found,) = await units.list(states=["active"], types=["service"])
    assert (found.description, found.load, found.active, found.sub, found.job) == (
        "The unit ssh.service",
        "loaded",
        "active",
        "running",
        "start",
    )


async def test_a_status_tells_what_is_known_and_none_for_what_is_not(systemd: FakeSystemd, units: UnitsService) -> None:
    systemd.add(
        "web.service",
        "active",
        "running",
        MainPID=4711,
        MemoryCurrent=3 << 20,
        CPUUsageNSec=1_500_000_000,
        TasksCurrent=2**64 - 1,
        NRestarts=2,
        Result="success",
        UnitFileState="enabled",
        FragmentPath="/etc/systemd/system/web.service",
        StateChangeTimestamp=1_700_000_000_000_000,
        ExecMainStatus=0,
        ExecMainExitTimestamp=0,
        StatusText="serving",
        NeedDaemonReload=True,
    )
    found = await units.status("web")
    assert found.name == "web.service"
    assert (found.main_pid, found.memory, found.cpu, found.tasks, found.restarts) == (4711, 3 << 20, 1.5, None, 2)
    assert found.since == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert (found.exit_status, found.result, found.status_text, found.needs_reload) == (
        None,
        "success",
        "serving",
        True,
    )
    assert (found.unit_file, found.path, found.job) == ("enabled", "/etc/systemd/system/web.service", "")


async def test_a_unit_that_is_not_there_is_told(systemd: FakeSystemd, units: UnitsService) -> None:
    with pytest.raises(NotFound, match=r"there is no unit nope\.service"):
        await units.status("nope")
    with pytest.raises(NotFound):
        await units.wait_for("nope")


async def test_a_job_is_waited_for(systemd: FakeSystemd, units: UnitsService) -> None:
    systemd.add("web.service")
    systemd.held = True
    starting = asyncio.ensure_future(units.start("web"))
    await systemd.until_asked("StartUnit")
    assert not starting.done()
    systemd.finish()
    assert (await asyncio.wait_for(starting, 10)).active == "active"
    assert ("StartUnit", ["web.service", "replace"]) in systemd.asked


async def test_a_job_that_is_done_before_its_answer_is_seen_is_not_missed(
    systemd: FakeSystemd, units: UnitsService
) -> None:
    systemd.add("web.service")
    assert (await asyncio.wait_for(units.start("web"), 10)).active == "active"
    assert (await asyncio.wait_for(units.stop("web", mode="fail"), 10)).active == "inactive"
    assert ("StopUnit", ["web.service", "fail"]) in systemd.asked


@pytest.mark.parametrize(
    ("verb", "options", "member"),
    [
        ("restart", {}, "RestartUnit"),
        ("restart", {"only_running": True}, "TryRestartUnit"),
        ("reload", {}, "ReloadUnit"),
        ("reload", {"or_restart": True}, "ReloadOrRestartUnit"),
    ],
)
async def test_verbs_are_those_of_systemctl(
    verb: str, options: dict[str, Any], member: str, systemd: FakeSystemd, units: UnitsService
) -> None:
    systemd.add("web.service", "active", "running")
    await asyncio.wait_for(getattr(units, verb)("web.service", **options), 10)
    assert (member, ["web.service", "replace"]) in systemd.asked


async def test_another_unit_s_job_ends_no_wait(systemd: FakeSystemd, units: UnitsService) -> None:
    systemd.add("web.service")
    systemd.add("db.service")
    systemd.held = True
    starting = asyncio.ensure_future(units.start("web"))
    await systemd.until_asked("StartUnit")
    systemd._signal(
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
        "JobRemoved",
        "uoss",
        [9, "/org/freedesktop/systemd1/job/9", "db.service", "failed"],
    )
    assert (await units.status("db")).name == "db.service"  # the signal has been delivered: D-Bus keeps the order
    assert not starting.done()
    systemd.finish()
    await asyncio.wait_for(starting, 10)


async def test_a_start_that_fails_says_why(systemd: FakeSystemd, units: UnitsService) -> None:
    systemd.add("web.service")
    systemd.results["web.service"] = "failed"
    with pytest.raises(FailedPrecondition) as caught:
        await asyncio.wait_for(units.start("web"), 10)
    text = caught.value.message
    assert text.startswith("web.service: the job failed; it is failed (failed), result 'exit-code', exit status 7;")
    assert "journalctl -u web.service" in text
    assert caught.value.data == {"result": "failed"}


@pytest.mark.parametrize(
    ("result", "error", "words"),
    [
        ("canceled", Aborted, "cancelled by another one"),
        ("timeout", FailedPrecondition, "did not finish in the time"),
        ("dependency", FailedPrecondition, "a unit that it depends on failed"),
        ("assert", FailedPrecondition, "an assertion"),
        ("unsupported", FailedPrecondition, "not supported"),
        ("invented", FailedPrecondition, "ended as 'invented'"),
    ],
)
async def test_what_became_of_a_job_is_told_in_words(
    result: str, error: type[CallError], words: str, systemd: FakeSystemd, units: UnitsService
) -> None:
    systemd.add("web.service")
    systemd.results["web.service"] = result
    with pytest.raises(error, match=words):
        await asyncio.wait_for(units.start("web"), 10)


async def test_a_job_that_had_nothing_to_do_is_no_error(systemd: FakeSystemd, units: UnitsService) -> None:
    systemd.add("web.service")
    systemd.results["web.service"] = "skipped"
    assert (await asyncio.wait_for(units.restart("web", only_running=True), 10)).active == "inactive"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("org.freedesktop.systemd1.NoSuchUnit", NotFound),
        ("org.freedesktop.systemd1.UnitMasked", FailedPrecondition),
        ("org.freedesktop.systemd1.JobTypeNotApplicable", FailedPrecondition),
        ("org.freedesktop.DBus.Error.AccessDenied", PermissionDenied),
        ("org.freedesktop.DBus.Error.InvalidArgs", InvalidArgument),
        ("org.freedesktop.DBus.Error.NoReply", Unavailable),
    ],
)
async def test_a_refusal_of_systemd_is_the_error_that_it_means(
    name: str, error: type[CallError], systemd: FakeSystemd, units: UnitsService
) -> None:
    systemd.add("web.service")
    systemd.refusal = (name, "words of systemd")
    with pytest.raises(error, match="words of systemd") as caught:
        await units.start("web")
    assert caught.value.data == {"dbus_error": name}


async def test_unit_files_are_changed_and_then_read_again(systemd: FakeSystemd, units: UnitsService) -> None:
    systemd.changes = [["symlink", "/etc/systemd/system/x.wants/web.service", "/lib/systemd/system/web.service"]]
    (change,) = await units.enable(["web"], force=True)
    assert (change.kind, change.target) == ("symlink", "/lib/systemd/system/web.service")
    systemd.changes = [["unlink", "/etc/systemd/system/x.wants/web.service", ""]]
    assert [each.kind for each in await units.disable(["web", "db.socket"])] == ["unlink"]
    await units.mask(["web"], runtime=True)
    await units.unmask(["web"])
    changing = [each for each in systemd.asked if each[0] not in ("GetAll", "LoadUnit")]
    assert changing == [
        ("EnableUnitFiles", [["web.service"], False, True]),
        ("Reload", []),
        ("DisableUnitFiles", [["web.service", "db.socket"], False]),
        ("Reload", []),
        ("MaskUnitFiles", [["web.service"], True, False]),
        ("Reload", []),
        ("UnmaskUnitFiles", [["web.service"], False]),
        ("Reload", []),
    ]


async def test_unit_files_are_not_changed_on_a_frozen_filesystem(systemd: FakeSystemd, units: UnitsService) -> None:
    device = Path("/etc").stat().st_dev
    units.resources.frozen.add(device, "/")
    with pytest.raises(FailedPrecondition, match="is frozen"):
        await units.enable(["web"])
    assert systemd.asked == []


async def test_failures_are_forgotten_and_files_read_when_asked(systemd: FakeSystemd, units: UnitsService) -> None:
    await units.reset_failed("web")
    await units.reset_failed()
    await units.daemon_reload()
    assert systemd.asked == [("ResetFailedUnit", ["web.service"]), ("ResetFailed", []), ("Reload", [])]


async def test_a_state_that_is_there_is_not_waited_for(systemd: FakeSystemd, units: UnitsService) -> None:
    systemd.add("web.service", "active", "running")
    assert (await asyncio.wait_for(units.wait_for("web"), 10)).sub == "running"


async def test_a_state_is_waited_for_until_systemd_says_that_it_is_there(
    systemd: FakeSystemd, units: UnitsService
) -> None:
    systemd.add("web.service")
    waiting = asyncio.ensure_future(units.wait_for("web"))
    await systemd.until_asked("GetAll")
    asked = len(systemd.asked)
    systemd.change("web.service", "activating", "start")
    await systemd.until_asked("GetAll", 2)
    assert not waiting.done()
    systemd.change("web.service", "active", "running", Job=[0, "/"])
    assert (await asyncio.wait_for(waiting, 10)).active == "active"
    assert len(systemd.asked) == asked + 4, "one question (load, properties) for each signal"


async def test_a_wait_for_active_ends_when_the_unit_fails(systemd: FakeSystemd, units: UnitsService) -> None:
    systemd.add("web.service", "activating", "start")
    waiting = asyncio.ensure_future(units.wait_for("web"))
    await systemd.until_asked("GetAll")
    systemd.change("web.service", "failed", "failed", Result="timeout")
    with pytest.raises(FailedPrecondition, match=r"will not become active: .* result 'timeout'"):
        await asyncio.wait_for(waiting, 10)
    assert (await asyncio.wait_for(units.wait_for("web", state="failed"), 10)).result == "timeout"


async def test_a_wait_that_is_cancelled_leaves_no_connection(systemd: FakeSystemd, units: UnitsService) -> None:
    systemd.add("web.service")
    before = sorted(await names(systemd))
    waiting = asyncio.ensure_future(units.wait_for("web"))
    await systemd.until_asked("GetAll")
    assert len(await names(systemd)) == len(before) + 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(10):
        while sorted(await names(systemd)) != before:
            await asyncio.sleep(0)


async def names(systemd: FakeSystemd) -> list[str]:
    from dbus_fast import Message

    bus = "org.freedesktop.DBus"
    reply = await systemd.bus.call(Message(destination=bus, path="/", interface=bus, member="ListNames"))
    assert reply is not None
    return list(reply.body[0])


async def test_a_bus_that_goes_away_ends_what_waits(tmp_path: Path) -> None:
    with message_bus(tmp_path) as address:
        fake = await FakeSystemd().start(address)
        fake.add("web.service")
        waiting = asyncio.ensure_future(UnitsService(address=address).wait_for("web"))
        await fake.until_asked("GetAll")
    with pytest.raises(Unavailable, match="connection to D-Bus was lost"):
        await asyncio.wait_for(waiting, 10)
    with pytest.raises((EOFError, ConnectionResetError)):
        await asyncio.wait_for(fake.bus.wait_for_disconnect(), 10)  # type: ignore[no-untyped-call]


async def test_no_bus_and_no_systemd_are_told_in_words(tmp_path: Path, address: str) -> None:
    with pytest.raises(Unavailable, match="cannot be reached over D-Bus: .*No such file"):
        await UnitsService(address=f"unix:path={tmp_path}/none").list()
    with pytest.raises(Unavailable, match="systemd does not answer: The name .* was not provided"):
        await UnitsService(address=address).list()


async def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dbus_fast", None)
    monkeypatch.delitem(sys.modules, "virtagent.guest.units_manager", raising=False)
    with pytest.raises(Unavailable, match=r"install virtagent\[guest\]"):
        await UnitsService().list()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("ssh", "ssh.service"),
        ("ssh.socket", "ssh.socket"),
        ("getty@tty1", "getty@tty1.service"),
        ("org.example.thing", "org.example.thing.service"),
        ("dev-disk-by\\x2duuid.device", "dev-disk-by\\x2duuid.device"),
        ("-.mount", "-.mount"),
    ],
)
def test_a_name_without_a_suffix_is_that_of_a_service(said: str, meant: str) -> None:
    assert full_name(said) == meant


@pytest.mark.parametrize("said", [".service", "x" * 250])
def test_what_cannot_be_a_name_is_refused(said: str) -> None:
    with pytest.raises(InvalidArgument):
        full_name(said)


@given(st.text(min_size=1, max_size=40))
def test_only_characters_of_unit_names_are_accepted(text: str) -> None:
    allowed = set(string.ascii_letters + string.digits + ":_.\\@-")
    try:
        msgspec.convert(text, UnitName)
    except (msgspec.ValidationError, UnicodeEncodeError):
        assert not set(text) <= allowed
    else:
        assert set(text) <= allowed


@pytest.mark.parametrize("text", ["a b", "x\n", "ssh.service\n", "../x", "a/b", "ä"])
def test_patterns_are_not_more_than_wildcards(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, UnitPattern)
