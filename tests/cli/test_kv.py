"""``virtagent kv``: what people see, from outside and inside of the guest."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.programs import LIMIT, Daemon, command_line, daemon, environment, read_until, start, virtagent


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setenv("VIRTAGENT_STATE_DIR", str(tmp_path / "state"))
    with daemon(tmp_path) as made:
        yield made


def run(guest: Daemon, *arguments: str, code: int = 0) -> str:
    done = virtagent(guest.directory, guest.url, "kv", *arguments)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def piped(guest: Daemon, data: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command_line(guest.url, "kv", *arguments),
        input=data,
        capture_output=True,
        timeout=LIMIT,
        check=False,
        env=environment(guest.directory),
    )


def test_keys_are_set_read_listed_and_deleted(guest: Daemon) -> None:
    assert run(guest, "set", "web/address", "10.0.0.1") == ""
    assert run(guest, "get", "web/address") == "10.0.0.1"
    run(guest, "set", "web/port", "80")
    run(guest, "set", "db", "x y")
    assert run(guest) == "db\nweb/address\nweb/port\n"
    assert run(guest, "list", "web/", "--values") == "web/address=10.0.0.1\nweb/port=80\n"
    assert run(guest, "delete", "web/port", "db") == ""
    assert run(guest, "list") == "web/address\n"
    assert run(guest, "delete", "db", code=1) == "virtagent: there is no key 'db'\n"
    assert run(guest, "get", "db", code=1).startswith("virtagent: there is no key 'db'")
    assert "1 key, 19 bytes" in run(guest, "status")


def test_bytes_go_in_and_out_as_they_are(guest: Daemon) -> None:
    data = bytes(range(256)) * 256
    assert piped(guest, data, "set", "binary").returncode == 0
    assert piped(guest, b"", "get", "binary").stdout == data
    done = piped(guest, data + b"!", "set", "binary")
    assert (done.returncode, done.stderr) == (2, b"virtagent: a value has at most 65536 bytes\n")
    run(guest, "set", "evil", "\x1b[2J")
    assert run(guest, "list", "evil", "-v") == "evil=\\x1b[2J\n"


def test_json_has_one_value_a_line(guest: Daemon) -> None:
    written = json.loads(run(guest, "set", "a", "text", "--json"))
    assert written["durable"] is True
    piped(guest, b"\xff", "set", "b")
    listed: list[dict[str, Any]] = [json.loads(each) for each in run(guest, "list", "-v", "--json").splitlines()]
    assert [(each["key"], each["value"]) for each in listed] == [("a", "text"), ("b", {"$bytes": "/w=="})]
    assert json.loads(run(guest, "get", "a", "--json"))["version"] == written["version"]


def test_compare_and_set_says_what_is_there(guest: Daemon) -> None:
    run(guest, "set", "leader", "a", "--version", "0")
    assert "leader has version 1, not 0; get it again" in run(guest, "set", "leader", "b", "--version", "0", code=1)
    run(guest, "set", "leader", "b", "--version", "1")
    assert run(guest, "get", "leader") == "b"


def test_a_watch_shows_what_there_is_and_what_comes(guest: Daemon) -> None:
    run(guest, "set", "web/a", "1")
    process = start(guest.directory, guest.url, ["kv", "watch", "web/", "-c", "2"])
    assert process.stdout is not None
    read_until(process.stdout.fileno(), b"web/a=1\n")
    run(guest, "set", "other", "x")
    run(guest, "set", "web/b", "2")
    read_until(process.stdout.fileno(), b"web/b=2\n")
    run(guest, "delete", "web/a")
    assert process.communicate(timeout=LIMIT)[0] == b"web/a deleted\n"
    assert process.returncode == 0

    process = start(guest.directory, guest.url, ["kv", "watch"])
    assert process.stdout is not None
    read_until(process.stdout.fileno(), b"web/b=2\n")
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 130
    process.stdout.close()
