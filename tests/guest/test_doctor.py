"""The doctor: what it finds here, and what it does about checks that fail, raise or hang."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from virtagent.api.health import Finding
from virtagent.errors import NotFound
from virtagent.guest import doctor_agent, doctor_rights, doctor_system
from virtagent.guest.doctor import Check, Result, chosen, examine, fail, ok, warn
from virtagent.guest.doctor_rights import CAPABILITIES, missing_capabilities
from virtagent.guest.resources import Resources

LIMIT = 60.0


async def findings(*checks: Check, patience: float = 20.0) -> list[Finding]:
    async with asyncio.timeout(LIMIT):
        return [each async for each in examine(checks, Resources(), patience=patience)]


async def test_all_checks_find_something_out_here() -> None:
    found = await findings(*chosen([]))
    assert [each.check for each in found] == [each.name for each in chosen([])]
    assert len({each.check for each in found}) == len(found)
    for each in found:
        assert each.message, each.check
        assert "\n" not in each.message + each.remedy
        assert "could not be found out" not in each.message, each
        assert each.verdict != "fail" or each.remedy


async def test_findings_come_in_the_order_of_the_checks() -> None:
    """Whichever ends first."""
    last = threading.Event()

    def slow(resources: Resources) -> Result:
        assert last.wait(LIMIT)
        return ok("slow")

    def quick(resources: Resources) -> Result:
        last.set()
        return ok("quick")

    found = await findings(Check("slow", slow), Check("quick", quick))
    assert [each.message for each in found] == ["slow", "quick"]


async def test_a_check_that_raises_spoils_nothing() -> None:
    def broken(resources: Resources) -> Result:
        raise RuntimeError("one\ntwo")

    found = await findings(Check("broken", broken), Check("fine", lambda resources: ok("fine")))
    assert [each.verdict for each in found] == ["warn", "ok"]
    assert found[0].message == "could not be found out: RuntimeError: one two"


async def test_a_check_that_hangs_is_given_up_and_keeps_no_other_from_running() -> None:
    ever = threading.Event()

    def hangs(resources: Resources) -> Result:
        ever.wait(LIMIT)
        return ok("late")

    checks = [*(Check(f"hangs {number}", hangs) for number in range(6)), Check("fine", lambda resources: ok("fine"))]
    found = await findings(*checks, patience=0.05)
    ever.set()
    assert [each.verdict for each in found] == ["fail"] * 6 + ["ok"]
    assert "no result within 0.05 s" in found[0].message


async def test_who_no_longer_reads_ends_the_examination() -> None:
    ever = threading.Event()
    checks = [Check("fine", lambda resources: ok("fine")), Check("hangs", lambda resources: ok(str(ever.wait(LIMIT))))]
    examination = examine(checks, Resources(), patience=LIMIT)
    assert (await anext(examination)).check == "fine"
    await examination.aclose()  # type: ignore[attr-defined]
    ever.set()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("doctor") and not task.cancelling()]


def test_checks_are_chosen_by_name() -> None:
    assert [each.name for each in chosen(["clock", "journal", "clock"])] == ["clock", "journal"]
    with pytest.raises(NotFound, match="there is no check 'clok'; there are channels, "):
        chosen(["clok"])


def test_verdicts_have_words() -> None:
    assert [each.verdict for each in (ok("x"), warn("x", "y"), fail("x", "y"))] == ["ok", "warn", "fail"]


def test_each_library_that_is_asked_for_is_one_that_the_agent_loads() -> None:
    sources = [each.read_text() for each in Path(doctor_agent.__file__).parent.glob("*.py")]
    for name in doctor_agent.LIBRARIES:
        assert any(f"from {name}" in text or f"import {name}" in text for text in sources), name


# -- single checks, where the machine must be as it is said to be ------------------------------------------------------


def test_a_state_directory_without_room_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc has no room at all."""
    monkeypatch.setenv("VIRTAGENT_STATE_DIR", "/proc/virtagent")
    found = doctor_agent.state_directory(Resources())
    assert (found.verdict, "0 MiB free" in found.message) == ("fail", True)


def test_a_library_that_is_missing_is_named_with_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_agent, "LIBRARIES", {"no_such_library_here": "nothing", "os": "all"})
    found = doctor_agent.libraries(Resources())
    assert found == warn("not installed: no_such_library_here (nothing)", "pip install virtagent[guest]")


def test_a_tool_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor_agent.tools(Resources()).verdict == "fail"
    (tmp_path / "sh").write_text("#!/bin/true\n")
    (tmp_path / "sh").chmod(0o755)
    found = doctor_agent.tools(Resources())
    assert found.verdict == "warn"
    assert "chpasswd (setting passwords)" in found.message


def test_a_bus_that_answers_is_told_from_one_that_hangs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import socket

    path = tmp_path / "bus"
    monkeypatch.setattr(doctor_system, "SYSTEM_BUS", str(path))
    monkeypatch.setattr(doctor_system, "DBUS_PATIENCE", 0.05)
    assert doctor_system.dbus(Resources()).message == "there is no system bus"
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(str(path))
        assert doctor_system.dbus(Resources()).message == "the system bus cannot be reached: Connection refused"
        bus.listen(8)
        assert doctor_system.dbus(Resources()).message == "the system bus does not answer"
        monkeypatch.setattr(doctor_system, "DBUS_PATIENCE", LIMIT)

        bus.accept()[0].close()  # the one that was left without an answer

        def answer() -> None:
            with bus.accept()[0] as client:
                assert client.recv(64) == b"\0AUTH\r\n"
                client.sendall(b"REJECTED EXTERNAL\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert doctor_system.dbus(Resources()).verdict == "ok"
        thread.join(LIMIT)


def test_capabilities_that_are_missing_are_named() -> None:
    every = sum(1 << bit for bit, _ in CAPABILITIES.values())
    assert missing_capabilities(f"Name: x\nCapEff:\t{every:016x}\n") == []
    without = every & ~(1 << CAPABILITIES["CAP_SYS_TIME"][0])
    assert missing_capabilities(f"CapEff:\t{without:016x}\n") == ["CAP_SYS_TIME"]


def test_the_bits_of_capabilities_are_those_of_the_kernel() -> None:
    header = Path("/usr/include/linux/capability.h")
    if not header.exists():
        pytest.skip("the kernel's headers are not installed (linux-libc-dev)")
    for name, (bit, _) in CAPABILITIES.items():
        assert f"#define {name} " in header.read_text().replace("\t", " ")
        line = next(line for line in header.read_text().splitlines() if line.split()[1:2] == [name])
        assert int(line.split()[2]) == bit, name


def test_frozen_filesystems_are_told() -> None:
    resources = Resources()
    resources.frozen.add(1, "/srv")
    assert doctor_rights.freezing(resources).message == "filesystems are frozen at the moment"


def test_a_clock_that_was_never_set_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime

    monkeypatch.setattr("virtagent.guest.facts.now", lambda: datetime(1970, 1, 2, tzinfo=UTC))
    assert doctor_system.clock(Resources()).verdict == "fail"


def test_a_broken_configuration_is_told_before_a_restart_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "agent.toml"
    monkeypatch.setattr(doctor_agent, "CONFIGURATION", str(file))
    assert doctor_agent.configuration(Resources()).verdict == "ok"
    file.write_text("[agent]\nnme = 5\n")
    found = doctor_agent.configuration(Resources())
    assert (found.verdict, "line 2" in found.message) == ("fail", True)
    file.write_text('[[policy]]\nroles = ["observe"]\n')
    assert "not the one that the agent was started with" in doctor_agent.configuration(Resources()).message
