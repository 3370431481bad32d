from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.programs import LIMIT, Daemon, command_line, daemon, environment, read_until, start


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Daemon]:
    with daemon(tmp_path) as running:
        yield running


def run(guest: Daemon, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command_line(guest.url, "config", *arguments),
        input=typed,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env=environment(guest.directory),
    )


def test_a_script_is_applied_once_and_its_output_shown(guest: Daemon, tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text('echo "out $1 $WHO"; echo err >&2')
    arguments = ("apply", "web/nginx", str(script), "one", "-e", "WHO=me")
    done = run(guest, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out one me\n", "err\n")
    done = run(guest, *arguments)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("virtagent: web/nginx: applied already, 20")
    assert run(guest, *arguments, "--force").stdout == "out one me\n"
    assert run(guest, "output", "web/nginx").stdout in ("out one me\nerr\n", "err\nout one me\n")
    heading, row = run(guest).stdout.splitlines()
    assert heading.split() == ["KEY", "OUTCOME", "EXIT", "WHEN", "SECONDS", "KIND"]
    assert row.split()[:3] == ["web/nginx", "applied", "0"]


def test_a_failure_is_the_exit_code_and_one_line(guest: Daemon) -> None:
    done = run(guest, "apply", "key", "-", typed="echo hello; exit 7")
    assert (done.returncode, done.stdout) == (1, "hello\n")
    assert done.stderr == "virtagent: key: failed (exit status 7); it is run again the next time\n"
    assert run(guest, "is-configured", "key").returncode == 1
    assert run(guest, "apply", "key", "-", "--interpreter", "/bin/true", typed="x").returncode == 0
    assert run(guest, "is-configured", "key").returncode == 0
    assert json.loads(run(guest, "is-configured", "key", "--json").stdout) is True


def test_items_are_json_when_asked(guest: Daemon) -> None:
    first, last = map(json.loads, run(guest, "apply", "key", "-", "--json", typed="echo hi").stdout.splitlines())
    assert first["stdout"] == {"$bytes": "aGkK"}
    assert (last["piece"]["outcome"], last["changed"]) == ("applied", True)
    assert [json.loads(line)["key"] for line in run(guest, "list", "--json").stdout.splitlines()] == ["key"]


def test_pieces_are_forgotten(guest: Daemon) -> None:
    run(guest, "apply", "key", "-", typed="true")
    assert run(guest, "forget", "key").returncode == 0
    done = run(guest, "forget", "key")
    assert (done.returncode, "nothing was known of key" in done.stderr) == (1, True)


def test_ctrl_c_ends_the_run_in_the_guest(guest: Daemon, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo up; exec sleep 1000")
    process = start(tmp_path, guest.url, ["config", "apply", "key", str(script)], stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    read_until(process.stdout.fileno(), b"up\n")
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 130
    assert process.stderr.read() == b""
    process.stdout.close()
    process.stderr.close()
    # The next run of this key waits until the first has ended, so it is there to be told of.
    assert run(guest, "apply", "key", "-", typed="echo done").stdout == "done\n"


@pytest.mark.parametrize(
    ("arguments", "typed", "told"),
    [
        (["apply", "key", "/no/such/file"], "", "cannot be read: No such file"),
        (["apply", "key", "-"], "", "- is empty"),
        (["apply", "key", "-", "-e", "A"], "x", "'A' is no variable; write NAME=VALUE"),
        (["apply", "key", "-", "--kind", "chef"], "x", "'chef' is not one of"),
        (["apply", "key"], "", "Missing argument 'FILE'"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], typed: str, told: str, guest: Daemon) -> None:
    done = run(guest, *arguments, typed=typed)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert told in done.stderr


def test_tools_are_listed(guest: Daemon) -> None:
    text = run(guest, "tools").stdout
    assert text.splitlines()[1].split() == ["script", "sh", "/usr/bin/sh"]
