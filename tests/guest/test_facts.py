"""What the guest tells of itself, why it goes, and whom it tells."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from virtagent.guest import facts
from virtagent.guest.down_reason import down_reason
from virtagent.guest.notify_socket import notify_manager
from virtagent.guest.packages import packages_with_services
from virtagent.guest.runtime import start_reason
from virtagent.guest.system import SystemService


async def test_the_system_is_told() -> None:
    info = await SystemService().info()
    assert info.kernel.name == "Linux"
    assert info.cpus
    assert info.memory
    assert info.uptime > 0
    assert info.booted is not None
    assert abs((info.time - info.booted).total_seconds() - info.uptime) < 2


def test_os_release_is_read_as_a_shell_reads_it() -> None:
    text = '# comment\nNAME="A \\"B\\" \\$\\\\"\nID=debian\nVERSION=\'12 \\x\'\nbroken\n'
    assert facts.parse_os_release(text) == {"NAME": 'A "B" $\\', "ID": "debian", "VERSION": "12 \\x"}


def test_what_cannot_be_read_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "OS_RELEASE", (Path("/nope"),))
    assert facts.os_release() == {}
    assert facts.memory("NoSuchField") is None


def commands(**outputs: str) -> object:
    def run(*command: str) -> str:
        return outputs.get(command[-1].replace("-", "_") if len(command) < 3 else command[1].replace("-", "_"), "")

    return run


@pytest.mark.parametrize(
    ("state", "jobs", "scheduled", "reason"),
    [
        ("running\n", "", "", "stop"),
        ("running\n", "9 reboot.target start waiting\n", "MODE=reboot\n", "stop"),
        ("stopping\n", "9 reboot.target start waiting\n", "", "reboot"),
        ("stopping\n", "1 x.service stop running\n2 poweroff.target start waiting\n", "", "shutdown"),
        ("stopping\n", "3 kexec.target start waiting", "", "reboot"),
        ("stopping\n", "", "USEC=1\nMODE=reboot\n", "reboot"),
        ("stopping\n", "", "", "shutdown"),
    ],
)
def test_systemd_tells_whether_the_machine_goes_down(
    state: str, jobs: str, scheduled: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    (tmp_path / "run/systemd/shutdown").mkdir()
    if scheduled:
        (tmp_path / "run/systemd/shutdown/scheduled").write_text(scheduled)
    run = commands(is_system_running=state, list_jobs=jobs)
    assert down_reason(run=run, root=tmp_path, file=tmp_path / "none") == reason  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("level", "runlevel", "reason"),
    [("", "2 6\n", "reboot"), ("", "N 0\n", "shutdown"), ("", "N 3\n", "stop"), ("shutdown", "", "shutdown")],
)
def test_other_inits_tell_by_their_runlevel(level: str, runlevel: str, reason: str, tmp_path: Path) -> None:
    if level:
        (tmp_path / "run/openrc").mkdir(parents=True)
        (tmp_path / "run/openrc/softlevel").write_text(level)
    run = commands(runlevel=runlevel)
    assert down_reason(run=run, root=tmp_path, file=tmp_path / "none") == reason  # type: ignore[arg-type]


@pytest.mark.parametrize(("word", "reason"), [("suspend\n", "suspend"), ("REBOOT; rm -rf", "stop"), ("", "stop")])
def test_a_word_in_the_file_goes_before_everything(word: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "down-reason").write_text(word)
    assert down_reason(run=commands(), root=tmp_path, file=tmp_path / "down-reason") == reason  # type: ignore[arg-type]


def test_the_first_start_in_a_boot_is_told_from_later_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "run"
    monkeypatch.setenv("VIRTAGENT_RUNTIME_DIR", str(directory))
    assert start_reason() == "boot"
    (directory / "down-reason").write_text("reboot\n")
    assert start_reason() == "restart"
    assert not (directory / "down-reason").exists()
    (directory / "boot-id").write_text("another\n")
    assert start_reason() == "boot"


def test_the_service_manager_is_told_if_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify_manager("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        assert notify_manager("READY=1", "STATUS=ok")
        assert manager.recv(4096) == b"READY=1\nSTATUS=ok"
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not notify_manager("READY=1")


def test_packages_with_services_are_found_without_loading_metadata(tmp_path: Path) -> None:
    for name, section in (("a", "[virtagent.services]\nx = y\n"), ("b", "[console_scripts]\nx = y\n")):
        (tmp_path / f"{name}-1.dist-info").mkdir()
        (tmp_path / f"{name}-1.dist-info" / "entry_points.txt").write_text(section)
    (tmp_path / "c-1.dist-info").mkdir()
    assert [each.parent.name for each in packages_with_services([str(tmp_path), "/nope"])] == ["a-1.dist-info"]
