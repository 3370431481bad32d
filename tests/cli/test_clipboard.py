"""The agent, its helper and the program as processes; the clipboard is that of a real X server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.programs import LIMIT, Daemon, command_line, daemon, environment, read_until, start
from tests.guest.desktops import x_server

PNG = b"\x89PNG\r\n\x1a\n" + os.urandom(100_000)


class Desktop:
    """A guest with a session."""

    def __init__(self, guest: Daemon, display: str) -> None:
        self.guest = guest
        self.display = display

    def __call__(self, *arguments: str, typed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run the program."""
        return subprocess.run(
            command_line(self.guest.url, "clipboard", *arguments),
            input=typed,
            capture_output=True,
            timeout=LIMIT,
            check=False,
            env=environment(self.guest.directory),
        )


@contextmanager
def helper(guest: Daemon, display: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `virtagentd session`; the agent knows it when this begins."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "virtagent.cli.daemon", "session"],
        env={**environment(guest.directory), "DISPLAY": display, "WAYLAND_DISPLAY": ""},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        guest.log_until("its helper is here")
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=LIMIT)


@pytest.fixture(scope="module")
def desktop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desktop]:
    with (
        x_server() as (display, _),
        daemon(tmp_path_factory.mktemp("desktop")) as guest,
        helper(guest, display),
    ):
        yield Desktop(guest, display)


def test_sessions_are_listed(desktop: Desktop) -> None:
    heading, row = desktop("sessions").stdout.decode().splitlines()
    assert heading.split() == ["SESSION", "USER", "KIND", "DISPLAY", "SINCE"]
    assert row.split()[0] == "x11-1"
    assert row.split()[2:4] == ["x11", desktop.display]
    assert json.loads(desktop("sessions", "--json").stdout)["watched"] is True


def test_text_goes_in_and_comes_out(desktop: Desktop) -> None:
    done = desktop("set", typed="grüße\n".encode())
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert desktop("get").stdout == "grüße\n".encode()
    assert json.loads(desktop("get", "--json").stdout) == "grüße\n"
    assert desktop("types").stdout == b"text/plain;charset=utf-8\n"
    shown = subprocess.run(
        ["xclip", "-d", desktop.display, "-selection", "clipboard", "-o"], capture_output=True, timeout=10, check=True
    )
    assert shown.stdout == "grüße\n".encode()
    assert desktop("--json").stdout == desktop("get", "--json").stdout, "what is not named is 'get'"
    assert desktop("get", "--primary").stdout != "grüße\n".encode()


def test_a_picture_has_its_type_by_its_suffix_and_is_written_to_a_file(desktop: Desktop, tmp_path: Path) -> None:
    (tmp_path / "in.PNG").write_bytes(PNG)
    assert json.loads(desktop("set", str(tmp_path / "in.PNG"), "--json").stdout) == {
        "type": "image/png",
        "size": len(PNG),
    }
    assert desktop("types").stdout == b"image/png\n"
    assert desktop("get", "-t", "image/png", "-o", str(tmp_path / "out.png")).returncode == 0
    assert (tmp_path / "out.png").read_bytes() == PNG
    assert desktop("get", "-t", "image/png").stdout == PNG


def test_what_is_not_there_is_one_line(desktop: Desktop) -> None:
    assert desktop("clear").returncode == 0
    done = desktop("get")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert b"the clipboard is empty" in done.stderr
    done = desktop("get", "--session", "nobody-here")
    assert (done.returncode, b"there is no session 'nobody-here'; there are x11-1" in done.stderr) == (1, True)
    assert desktop("set", "/no/such/file").returncode == 2
    assert b"argument 'type'" in desktop("get", "-t", "png").stderr


def test_changes_are_printed_as_they_come_until_ctrl_c(desktop: Desktop) -> None:
    process = start(desktop.guest.directory, desktop.guest.url, ["clipboard", "watch"], stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    # Set until the first change is told: only the guest knows when the watch has begun.
    setter = subprocess.Popen(
        ["sh", "-c", f"while :; do echo x | xclip -d {desktop.display} -selection clipboard; done"],
        start_new_session=True,
    )
    try:
        told = read_until(process.stdout.fileno(), b"\n")
    finally:
        os.killpg(setter.pid, signal.SIGKILL)
        setter.wait(LIMIT)
    assert told.startswith(b"root x11-1 clipboard text/plain" if os.getuid() == 0 else b"")
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 130
    assert process.stderr.read() == b""
    process.stdout.close()
    process.stderr.close()


def test_no_log_of_the_agent_shows_what_was_copied(desktop: Desktop) -> None:
    desktop("set", typed=b"a very secret password")
    desktop("get", "--session", "the-last-line")
    log = desktop.guest.log_until("the-last-line")
    assert "clipboard.set" in log
    assert "secret password" not in log


def test_the_helper_ends_with_its_session_and_says_where_it_cannot_run(tmp_path: Path) -> None:
    with daemon(tmp_path) as guest:
        with x_server() as (display, server), helper(guest, display) as process:
            server.terminate()
            assert (process.wait(LIMIT), process.stderr.read() if process.stderr else b"") == (0, b"")
            guest.log_until("its helper has gone")
        done = subprocess.run(
            [sys.executable, "-m", "virtagent.cli.daemon", "session"],
            env={**environment(tmp_path), "DISPLAY": "", "WAYLAND_DISPLAY": ""},
            capture_output=True,
            timeout=LIMIT,
            check=False,
        )
        assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
        assert b"run this in a desktop session" in done.stderr
        done = Desktop(guest, "")("get")
        assert (done.returncode, b"no desktop session of the guest has a helper" in done.stderr) == (1, True)


def test_the_helper_ends_quietly_when_it_is_told_to(tmp_path: Path) -> None:
    with x_server() as (display, _), daemon(tmp_path) as guest, helper(guest, display) as process:
        process.terminate()
        assert process.communicate(timeout=LIMIT)[1] == b""
        assert process.returncode == 0


def test_an_agent_for_one_command_takes_no_sessions(tmp_path: Path) -> None:
    with daemon(tmp_path, "--log-level", "debug") as guest:
        assert (tmp_path / "runtime" / "session.sock").is_socket()
        guest.stop()
    assert not (tmp_path / "runtime" / "session.sock").exists()
    # Looked at from within the agent, while it serves.
    done = subprocess.run(
        command_line(f"exec:{sys.executable} -m virtagent.cli.daemon --stdio", "config", "apply", "look", "-"),
        input=f"test -S {tmp_path}/runtime/session.sock; echo $?".encode(),
        env=environment(tmp_path),
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"1\n")


def test_the_desktop_file_starts_what_there_is() -> None:
    text = (Path(__file__).parents[2] / "packaging" / "virtagent-session.desktop").read_text()
    assert "\nExec=virtagentd session\n" in text
    assert text.startswith("[Desktop Entry]\nType=Application\n")
