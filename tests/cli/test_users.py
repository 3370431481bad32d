from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.programs import LIMIT, Daemon, command_line, environment, read_until, virtagent
from tests.guest.test_authorized_keys import key
from virtagent.cli.users import read_keys
from virtagent.errors import UsageError


def run(running: Daemon, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command_line(running.url, *arguments),
        input=typed,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env=environment(running.directory),
    )


def test_people_and_root_are_listed_and_all_when_asked(running: Daemon) -> None:
    text = virtagent(running.directory, running.url, "users").stdout
    assert text.splitlines()[0].split() == ["NAME", "UID", "GROUPS", "PASSWORD", "HOME", "SHELL", "FULL", "NAME"]
    assert "root" in text
    assert "nobody" not in text
    everybody = virtagent(running.directory, running.url, "users", "--all", "--json").stdout.splitlines()
    assert {"root", "daemon", "nobody"} <= {json.loads(line)["name"] for line in everybody}


def test_a_password_is_never_an_argument_and_never_asked_for_without_a_terminal(running: Daemon) -> None:
    done = run(running, "users", "password", "nobody-here", "secret")
    assert (done.returncode, "unexpected extra argument" in done.stderr) == (2, True)
    done = run(running, "users", "password", "nobody-here")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "add --stdin and pipe it in" in done.stderr
    done = run(running, "users", "password", "nobody-here", "--stdin")
    assert (done.returncode, "is empty" in done.stderr) == (2, True)


def test_a_password_that_is_piped_in_reaches_the_guest(running: Daemon) -> None:
    done = run(running, "users", "password", "nobody-here", "--stdin", typed="correct horse\n")
    assert done.returncode == 1
    assert done.stderr == "virtagent: there is no account 'nobody-here'; check the name: it is the guest's\n"


def test_a_password_is_asked_for_twice_and_not_shown(running: Daemon) -> None:
    terminal, slave = os.openpty()
    process = subprocess.Popen(
        command_line(running.url, "users", "password", "nobody-here"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(running.directory),
        start_new_session=True,
        preexec_fn=take_terminal,  # noqa: PLW1509 - this process has no threads
    )
    os.close(slave)
    try:
        shown = read_until(terminal, b"New password of nobody-here")
        os.write(terminal, b"horse\n")
        shown += read_until(terminal, b"Repeat for confirmation")
        os.write(terminal, b"horse\n")
        shown += read_until(terminal, b"check the name: it is the guest's")
        assert process.wait(LIMIT) == 1
        assert b"horse" not in shown
    finally:
        process.kill()
        process.wait(LIMIT)
        os.close(terminal)


def take_terminal() -> None:
    """In the child: standard input becomes its controlling terminal."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.parametrize("verb", ["lock", "unlock"])
def test_an_unknown_account_is_not_locked(verb: str, running: Daemon) -> None:
    done = run(running, "users", verb, "nobody-here")
    assert (done.returncode, "no account 'nobody-here'" in done.stderr) == (1, True)


def test_keys_of_unknown_accounts_are_told_in_one_line(running: Daemon) -> None:
    for arguments in (["list"], ["add"], ["remove"]):
        extra = [] if arguments == ["list"] else [key(1)]
        done = run(running, "users", "keys", *arguments, "nobody-here", *extra)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "no account 'nobody-here'" in done.stderr


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/home/anna/.ssh/id_ed25519.pub", "names no type of public key"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", "cut short"),
        ("ssh-rsa " + key(1).split()[1], "of another type"),
    ],
)
def test_what_is_wrong_with_a_key_is_told_though_keys_are_secret(running: Daemon, line: str, told: str) -> None:
    done = run(running, "users", "keys", "add", "root", line)
    assert (done.returncode, told in done.stderr) == (1, True), done.stderr


def test_whose_keys_are_meant_must_be_said(running: Daemon) -> None:
    done = run(running, "users", "keys")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Missing argument 'USER'" in done.stderr


def test_keys_come_from_arguments_and_files(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# mine\n\n{key(2, 'b')}\n")
    assert read_keys((key(1),), (str(path),)) == [key(1), key(2, "b")]


def test_a_private_key_stays_here(tmp_path: Path) -> None:
    path = tmp_path / "id_ed25519"
    path.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n")
    with pytest.raises(UsageError, match=r"id_ed25519\.pub"):
        read_keys((), (str(path),))


@pytest.mark.parametrize("files", [(), ("/no/such/file",)])
def test_no_key_is_a_mistake(files: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="no key was given|cannot be read: No such file"):
        read_keys((), files)
