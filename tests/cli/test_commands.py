"""What the commands print, and how they end."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.programs import LIMIT, Daemon, command_line, environment, read_until, start, virtagent


def lines(text: str) -> list[object]:
    return [json.loads(line) for line in text.splitlines()]


def ok(running: Daemon, *arguments: str) -> str:
    done = virtagent(running.directory, running.url, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_ping_measures_round_trips(running: Daemon) -> None:
    assert "answer from web1 (virtagent" in ok(running, "ping")
    text = ok(running, "ping", "-c", "3", "-i", "0")
    assert "3 sent, 3 answered, 0% lost" in text
    assert "rtt min/avg/max/mdev = " in text
    data = json.loads(ok(running, "ping", "-c", "2", "-i", "0", "--json"))
    assert data["answered"] == 2
    assert 0 < data["min_ms"] <= data["avg_ms"] <= data["max_ms"]


def test_info_tells_what_the_guest_is(running: Daemon) -> None:
    assert f"kernel:         Linux {os.uname().release}" in ok(running, "info")
    assert json.loads(ok(running, "info", "--json"))["kernel"]["release"] == os.uname().release


def test_a_file_comes_byte_by_byte_as_it_is(running: Daemon, tmp_path: Path) -> None:
    data = os.urandom(700_000)
    (tmp_path / "data").write_bytes(data)
    command = command_line(running.url, "cat", str(tmp_path / "data"))
    done = subprocess.run(
        command, stdout=subprocess.PIPE, env=environment(tmp_path), timeout=LIMIT, check=True, stdin=subprocess.DEVNULL
    )
    assert done.stdout == data
    with (tmp_path / "copy").open("wb") as copy:
        subprocess.run(
            [*command, "--offset", "1K", "--length", "2000"],
            stdout=copy,
            env=environment(tmp_path),
            timeout=LIMIT,
            check=True,
        )
    assert (tmp_path / "copy").read_bytes() == data[1024:3024]


def test_a_reader_that_leaves_ends_the_program_quietly(running: Daemon) -> None:
    process = start(running.directory, running.url, ["cat", "/dev/zero"], stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(LIMIT) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.skipif(not os.access("/dev/kmsg", os.R_OK), reason="needs /dev/kmsg")
def test_the_kernel_log_is_shown_as_dmesg_does(running: Daemon) -> None:
    text = ok(running, "dmesg")
    assert text.startswith("[")
    assert "\x1b" not in text
    records = lines(ok(running, "dmesg", "--json", "--level", "warn"))
    assert all(record["level"] <= 4 for record in records)  # type: ignore[index]


def test_methods_are_listed_with_their_signatures(running: Daemon) -> None:
    text = ok(running, "methods")
    assert "agent.ping() -> Pong\n    Answer at once.\n" in text
    assert "rpc.methods(prefix: str = '') -> list[MethodSummary]" in text
    assert "-> stream of bytes" in ok(running, "methods", "files.r")
    assert [each["name"] for each in lines(ok(running, "methods", "--json", "agent"))] == ["agent.ping"]  # type: ignore[index]


@pytest.mark.parametrize("arguments", [["/"], ["path=/"], ['path="/"', "follow=true"], ['{"path": "/"}'], ['["/"]']])
def test_calls_take_arguments_as_people_write_them(arguments: list[str], running: Daemon) -> None:
    assert json.loads(ok(running, "call", "files.stat", *arguments))["kind"] == "directory"


def test_a_stream_of_bytes_is_printed_as_it_is_and_items_as_lines(running: Daemon) -> None:
    assert ok(running, "call", "files.read", "/proc/self/comm")
    assert all(isinstance(each, dict) for each in lines(ok(running, "call", "log.kernel", "level=0")))


def test_wait_ready_tells_that_calls_are_answered(running: Daemon) -> None:
    assert "web1 is ready" in ok(running, "wait-ready")


def test_guests_are_listed_and_the_only_one_is_the_default(running: Daemon, tmp_path: Path) -> None:
    assert "no guests are known; add one to" in virtagent(tmp_path, None, "guests").stderr
    domain = tmp_path / "libvirt" / "domain-1-db"
    domain.mkdir(parents=True)
    (domain / "org.virtagent.0").symlink_to(running.directory / "guest.sock")
    assert "db    unix:" in virtagent(tmp_path, None, "guests").stdout
    assert "answer from web1" in virtagent(tmp_path, None, "ping").stdout
    (tmp_path / "config" / "virtagent").mkdir(parents=True)
    (tmp_path / "config" / "virtagent" / "guests.toml").write_text(f'[guests.web1]\nurl = "{running.url}"\n')
    known = lines(virtagent(tmp_path, None, "guests", "--json").stdout)
    assert [each["name"] for each in known] == ["db", "web1"]  # type: ignore[index]
    done = virtagent(tmp_path, None, "ping")
    assert (done.returncode, done.stderr) == (2, "virtagent: which guest? add --to NAME; known are db, web1\n")
    assert virtagent(tmp_path, "web1", "ping").returncode == 0
    assert virtagent(tmp_path, None, "ping", VIRTAGENT_TO="web1").returncode == 0
    assert virtagent(tmp_path, None, "ping", "--to", "db").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["call", "system.inof"], 1, "no method 'system.inof'; did you mean system.info"),
        (["call", "stat"], 1, "did you mean files.stat"),
        (["call", "zzzzzz"], 1, "virtagent methods lists them"),
        (["call", "files.stat", "pth=/"], 1, "unknown argument 'pth'; it takes path, follow"),
        (["call", "files.stat", "path=3"], 1, "argument 'path': expected str"),
        (["call", "files.stat", "a=1", "b"], 2, "'b' has no name; write KEY=b"),
        (["call", "files.stat", '{"a'], 2, "is no JSON"),
        (["cat", "/nope"], 1, "/nope: No such file or directory"),
        (["cat", "/etc"], 1, "is a directory"),
        (["cat", "/etc/passwd", "--length", "x"], 2, "is no number of bytes"),
        (["dmesg", "--level", "loud"], 2, "'loud' is no level; write one of emerg"),
        (["bogus"], 2, "No such command 'bogus'"),
        (["ping", "--timeout", "0"], 2, "positive number of seconds"),
        (["--to", "unix:/no/such.sock", "ping"], 3, "no such socket; start the server"),
        (["--to", "unx:/x", "ping"], 2, "unknown scheme 'unx'"),
        (["--to", "nobody", "ping"], 2, "no guest is named 'nobody'"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(arguments: list[str], code: int, told: str, running: Daemon) -> None:
    done = virtagent(running.directory, running.url, *arguments)
    assert told in done.stderr
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (code, 1, "")
    assert done.stderr.startswith("virtagent: ")


def test_without_a_command_the_help_is_shown(tmp_path: Path) -> None:
    done = virtagent(tmp_path, None)
    assert done.returncode == 2
    assert "dmesg" in done.stdout
    assert "..." not in done.stdout.split("Connection:")[1]
    assert virtagent(tmp_path, None, "--version").stdout.startswith("virtagent 0.")


def test_ctrl_c_ends_a_stream_quietly_and_cancels_it_in_the_guest(running: Daemon) -> None:
    """With a terminal, as people press it."""
    master, slave = os.openpty()
    process = subprocess.Popen(
        command_line(running.url, "dmesg", "-f"),
        stdin=slave,
        stdout=slave,
        stderr=subprocess.PIPE,
        env=environment(running.directory, NO_COLOR="1"),
        start_new_session=True,
        preexec_fn=take_terminal,  # noqa: PLW1509 - this process has no threads
    )
    os.close(slave)
    try:
        Path("/dev/kmsg").write_text("<6>virtagent ctrl-c test\n")
        assert b"\x1b[3" not in read_until(master, b"virtagent ctrl-c test")
        os.write(master, b"\x03")
        assert process.wait(LIMIT) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""
        process.stderr.close()
    finally:
        process.kill()
        os.close(master)
    assert json.loads(ok(running, "call", "agent.ping"))["open_calls"] == 1


def take_terminal() -> None:
    """In the child: standard input becomes the controlling terminal, so that Ctrl-C there is a SIGINT here."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_the_end_of_the_session_is_told_apart(tmp_path: Path) -> None:
    from tests.cli.programs import daemon

    with daemon(tmp_path) as guest:
        process = start(tmp_path, guest.url, ["events"])
        assert process.stdout is not None
        read_until(process.stdout.fileno(), b"state=up")
        guest.stop()
        read_until(process.stdout.fileno(), b"agent.down reason=stop")
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
        process.stdout.close()


def test_nobody_answers_and_deadlines_have_their_codes(tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent.sock"))
        silent.listen()
        done = virtagent(tmp_path, f"unix:{tmp_path}/silent.sock", "ping", "--timeout", "0.3")
    assert done.returncode == 4
    assert "nobody answers" in done.stderr
    assert done.stderr.count("\n") == 1


def test_bytes_in_results_are_base64() -> None:
    from virtagent.cli.text import parse_value, to_json

    text = to_json({"data": b"\xff\x00"})
    assert json.loads(text) == {"data": {"$bytes": base64.b64encode(b"\xff\x00").decode()}}
    assert parse_value(text) == {"data": b"\xff\x00"}


def test_what_a_guest_says_cannot_command_the_terminal() -> None:
    from virtagent.cli.text import harmless, one_line

    assert harmless("a\x1b[2J\x9b\u202eb\udcff") == "a\\x1b[2J\\x9b\\u202eb\\udcff"
    assert harmless("\u200f\u061c") == "\\u200f\\u061c"
    assert one_line("a\nb\r\n c") == "a b c"


def test_a_complaint_with_a_guests_names_cannot_either(capsys: pytest.CaptureFixture[str]) -> None:
    from virtagent.cli.output import complain

    complain("a file \x1b]0;title\x07")
    assert capsys.readouterr().err == "virtagent: a file \\x1b]0;title\\x07\n"
