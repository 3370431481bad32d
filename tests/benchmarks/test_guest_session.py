"""The rounds and the command around them; and one real round beside qemu-ga, where it is installed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from benchmarks.guest import __main__ as command
from benchmarks.guest import against_qemu_ga, session
from benchmarks.guest.agent_process import qemu_ga_program
from benchmarks.guest.session import Session
from benchmarks.rows.target import judge
from benchmarks.rows.targets import QEMU_GA, TARGETS
from tests.vm.harness import HarnessError

METRICS = {
    "guest channel echo/guest ping/p50_us": 100.0,
    "ours/guest ping/p50_us": 200.0,
    "qemu-ga/ping one CPU/p50_us": 24.0,
    "ours/ping one CPU/p50_us": 20.0,
    "qemu-ga/file read/MB_per_s": 100.0,
    "ours/file read/MB_per_s": 900.0,
}


class FakeSession:
    """Gives the same metrics in each round."""

    async def one_round(self) -> dict[str, float]:
        return METRICS


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What sessions were asked for by the command; qemu-ga is there, no guest is booted."""
    sessions: list[dict[str, Any]] = []

    @asynccontextmanager
    async def fake(**options: Any) -> AsyncIterator[FakeSession]:
        sessions.append(options)
        yield FakeSession()

    monkeypatch.setattr(command, "session", fake)
    monkeypatch.setattr(command, "qemu_ga_program", lambda: "/usr/sbin/qemu-ga")
    return sessions


def test_the_command_prints_each_figure_beside_its_target(
    asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--rounds", "3", "--quick"]) == 0
    assert asked == [{"quick": True, "guest": True, "qemu_ga": True}]
    printed = capsys.readouterr().out
    rows = {line[:56].strip(): line for line in printed.splitlines() if "target" not in line}
    assert "met" in rows["guest, ping / channel's echo"]
    assert "MISSED" in rows["file read / qemu-ga"]
    assert "medians of 3 interleaved rounds" in printed


def test_the_rounds_can_be_kept(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    command.main(["--rounds", "2", "--only", "qemu-ga", "--json", str(tmp_path / "out.json")])
    assert asked == [{"quick": False, "guest": False, "qemu_ga": True}]
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["rounds"] == [METRICS, METRICS]
    assert "python" in written["environment"]


def test_without_qemu_ga_only_the_guest_is_measured(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "qemu_ga_program", lambda: None)
    command.main(["--rounds", "1"])
    assert asked == [{"quick": False, "guest": True, "qemu_ga": False}]
    assert "apt-get install qemu-guest-agent" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="qemu-ga is not installed: apt-get install qemu-guest-agent"):
        command.main(["--only", "qemu-ga"])


def test_a_guest_that_cannot_be_booted_is_told_in_one_line(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: Any) -> Any:
        raise HarnessError("install qemu-system-x86")

    monkeypatch.setattr(command, "session", broken)
    with pytest.raises(SystemExit, match="^install qemu-system-x86$"):
        command.main(["--rounds", "1"])


@pytest.mark.parametrize("rounds", ["0", "-1", "x", "1.5"])
def test_a_number_of_rounds_that_cannot_be_is_refused(rounds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main([f"--rounds={rounds}"])
    assert "give 1 or more" in capsys.readouterr().err


async def test_a_quick_round_measures_less(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[dict[str, int]] = []

    def one_round(directory: Path, **sizes: int) -> dict[str, float]:
        asked.append(sizes)
        return {"x": 1.0}

    monkeypatch.setattr(against_qemu_ga, "one_round", one_round)
    for quick in (False, True):
        assert await Session(tmp_path, None, qemu_ga=True, quick=quick).one_round() == {"x": 1.0}
    assert asked[0]["calls"] > asked[1]["calls"]
    assert asked[0]["size"] > asked[1]["size"]


@pytest.mark.skipif(qemu_ga_program() is None, reason="qemu-ga is not installed (apt-get install qemu-guest-agent)")
def test_a_real_round_beside_qemu_ga_measures_all_that_its_targets_need() -> None:
    with TemporaryDirectory(prefix="qga-") as directory:
        metrics = against_qemu_ga.one_round(Path(directory), calls=30, size=4 << 20)
    assert all(value >= 0 for value in metrics.values())
    assert all(value > 0 for name, value in metrics.items() if not name.endswith("_per_MiB"))
    targets = [target for target in TARGETS if target.row == QEMU_GA]
    assert targets
    assert all(judge(target, [metrics]).status != "not measured" for target in targets)


async def test_a_session_without_a_guest_needs_no_virtual_machine() -> None:
    async with session(guest=False, qemu_ga=False) as running:
        assert await running.one_round() == {}
