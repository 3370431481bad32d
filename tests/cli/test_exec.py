"""Programs of a guest in the place of `virtagent exec`, with real pipes and a real terminal at this end."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.programs import LIMIT, Daemon, command_line, daemon, environment, read_until, virtagent


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


def run(place: Path, running: Daemon, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command_line(running.url, *arguments),
        input=stdin,
        capture_output=True,
        timeout=LIMIT,
        check=False,
        env=environment(place),
    )


def begin(place: Path, running: Daemon, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command_line(running.url, *arguments),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(place),
    )


def wait_until_gone(pid: int) -> None:
    """Wait until a process has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], LIMIT)[0], f"{pid} goes on"
    finally:
        os.close(descriptor)


# -- without a terminal --------------------------------------------------------------------------------------------


def test_output_errors_and_the_exit_code_pass_through(place: Path, running: Daemon) -> None:
    done = run(place, running, "exec", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 7)


def test_options_end_at_the_program_and_its_arguments_are_its_own(place: Path, running: Daemon) -> None:
    done = run(place, running, "exec", "printf", "%s|", "-i", "--json", "--", "a b")
    assert done.stdout == b"-i|--json|--|a b|"
    assert run(place, running, "exec", "--", "echo", "-t").stdout == b"-t\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["exec", "no-such-program"], 127, "the guest has no such program"),
        (["exec", "/etc/passwd"], 126, "cannot be executed"),
        (["exec", "-u", "no-such-user", "ls"], 125, "no user 'no-such-user'"),
        (["exec", "-w", "/no/such", "ls"], 125, "no such directory"),
        (["exec", "--no-such-option", "ls"], 125, "No such option"),
        (["exec"], 125, "Missing argument"),
        (["exec", "--limit", "x", "ls"], 125, "NAME=NUMBER"),
        (["exec", "-e", "=x", "ls"], 125, "is no variable"),
        (["exec", "--env-file", "/no/such", "ls"], 125, "No such file"),
        (["exec", "--umask", "9", "ls"], 125, "no octal number"),
        (["exec", "-it", "ls"], 125, "needs a terminal"),
        (["exec", "--deadline", "soon", "ls"], 125, "no duration"),
        (["shell"], 125, "needs a terminal"),
        (["exec", "--deadline", "0.3", "sleep", "600"], 124, ""),
        (["exec", "-s", "kill -9 $$"], 137, ""),
    ],
)
def test_exit_codes_tell_our_failures_from_the_programs(
    place: Path, running: Daemon, arguments: list[str], code: int, words: str
) -> None:
    done = run(place, running, *arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr.decode()
    assert done.stderr.count(b"\n") == bool(words)


def test_no_guest_is_our_failure(place: Path) -> None:
    assert virtagent(place, f"unix:{place}/nothing.sock", "exec", "true").returncode == 125


def test_standard_input_is_given_only_if_asked_and_streams(place: Path, running: Daemon) -> None:
    assert run(place, running, "exec", "cat", stdin=b"x").stdout == b""
    data = os.urandom(20 * 2**20)
    assert run(place, running, "exec", "-i", "cat", stdin=data).stdout == data


def test_a_file_and_dev_null_can_be_standard_input(place: Path, running: Daemon) -> None:
    (place / "file").write_bytes(b"from a file")
    for name, expected in (("file", b"from a file"), ("/dev/null", b"")):
        with open(place / name, "rb") as file:
            done = subprocess.run(
                command_line(running.url, "exec", "-i", "cat"),
                stdin=file,
                capture_output=True,
                timeout=LIMIT,
                check=True,
                env=environment(place),
            )
        assert done.stdout == expected


def test_variables_directory_umask_and_limits_are_set(place: Path, running: Daemon) -> None:
    (place / "vars").write_text("# a comment\n\nA=1 2\nTZ\n")
    options = ["--env-file", f"{place}/vars", "-e", "B=3", "-w", str(place), "--umask", "027", "--limit", "nofile=99"]
    done = run(place, running, "exec", *options, "-s", "echo $A/$B/$TZ; pwd; umask; ulimit -n")
    assert done.stdout.decode() == f"1 2/3/UTC\n{place}\n0027\n99\n"


@pytest.mark.root
def test_a_user_and_a_group_are_named_as_docker_does(place: Path, running: Daemon) -> None:
    assert run(place, running, "exec", "-u", "nobody:daemon", "-s", "id -un; id -gn").stdout == b"nobody\ndaemon\n"


def test_json_has_a_value_a_line(place: Path, running: Daemon) -> None:
    done = run(place, running, "--json", "exec", "echo", "hi")
    started, output, exited = map(json.loads, done.stdout.splitlines())
    assert started["started"]["pid"] > 0
    assert output == {"stdout": {"$bytes": "aGkK"}}
    assert exited["exited"]["code"] == 0


def test_a_reader_that_leaves_ends_the_program(place: Path, running: Daemon) -> None:
    with begin(place, running, "exec", "-s", "echo $$; exec yes") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        pid = int(read_until(process.stdout.fileno(), b"y\n").split()[0])
        process.stdout.close()
        assert process.wait(LIMIT) == 141
        assert process.stderr.read() == b""
    wait_until_gone(pid)


def test_ctrl_c_goes_to_the_program(place: Path, running: Daemon) -> None:
    with begin(
        place, running, "exec", "-s", "trap 'echo caught; exit 9' INT; echo go; while :; do sleep 0.01; done"
    ) as process:
        assert process.stdout is not None
        read_until(process.stdout.fileno(), b"go\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)
        assert (out, err, process.returncode) == (b"caught\n", b"", 9)


def test_ctrl_c_twice_gives_up_and_ends_the_program(place: Path, running: Daemon) -> None:
    line = "trap 'echo caught' INT; echo $$; while :; do sleep 0.01; done"
    with begin(place, running, "exec", "-s", line) as process:
        assert process.stdout is not None
        pid = int(read_until(process.stdout.fileno(), b"\n"))
        while process.poll() is None:  # two within a second, however busy this machine is
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        # A further one while Python ends has its default effect, which is the same to a shell.
        assert process.returncode in (130, -signal.SIGINT)
    wait_until_gone(pid)


def test_a_terminated_exec_ends_the_program(place: Path, running: Daemon) -> None:
    with begin(place, running, "exec", "-s", "echo $$; exec sleep 600") as process:
        assert process.stdout is not None
        pid = int(read_until(process.stdout.fileno(), b"\n"))
        process.terminate()
        assert process.wait(LIMIT) == 128 + signal.SIGTERM
    wait_until_gone(pid)


def test_a_killed_exec_ends_the_program(place: Path, running: Daemon) -> None:
    with begin(place, running, "exec", "-s", "echo $$; exec sleep 600") as process:
        assert process.stdout is not None
        pid = int(read_until(process.stdout.fileno(), b"\n"))
        process.kill()
    wait_until_gone(pid)


def test_help_ends_with_examples(place: Path) -> None:
    for verb in ("exec", "shell", "ps", "jobs", "attach"):
        done = virtagent(place, None, verb, "--help")
        assert done.returncode == 0
        assert "Examples:" in done.stdout


# -- with a terminal -----------------------------------------------------------------------------------------------


class Terminal:
    """`virtagent` as people use it, in a terminal."""

    def __init__(self, place: Path, running: Daemon, *arguments: str, columns: int = 90, rows: int = 20) -> None:
        self._arguments = command_line(running.url, *arguments)
        self._environment = environment(place, TERM="vt220")
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (rows, columns))
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            self._arguments,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=self._environment,
            start_new_session=True,
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT)
        os.close(self.master)
        os.close(self.slave)

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def until(self, wanted: bytes) -> bytes:
        return read_until(self.master, wanted)

    def end(self) -> int:
        """Wait for its end; what it still writes is read."""
        end = time.monotonic() + LIMIT
        while self.process.poll() is None:
            assert time.monotonic() < end, "it goes on"
            if select.select([self.master], [], [], 0.05)[0]:
                os.read(self.master, 65536)
        return self.process.returncode

    @property
    def restored(self) -> bool:
        """Whether the terminal is as it was."""
        return termios.tcgetattr(self.slave) == self.before

    @property
    def raw(self) -> bool:
        """Whether keys pass as they are."""
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)


def test_a_program_has_this_terminals_size_and_type(place: Path, running: Daemon) -> None:
    with Terminal(place, running, "exec", "-t", "-s", "stty size; echo $TERM; tty -s && echo a terminal") as terminal:
        assert b"20 90\r\nvt220\r\na terminal\r\n" in terminal.until(b"a terminal\r\n")
        assert terminal.end() == 0
        assert terminal.restored


def test_keys_go_to_the_program_and_the_terminal_is_restored(place: Path, running: Daemon) -> None:
    with Terminal(
        place, running, "exec", "-it", "-s", "trap 'echo got it' INT; echo go; read x; read y; exit 6"
    ) as terminal:
        terminal.until(b"go\r\n")
        assert terminal.raw
        terminal.type(b"\x03")
        terminal.until(b"got it\r\n")
        terminal.type(b"\n\n")
        assert terminal.end() == 6
        assert terminal.restored


def test_a_resize_here_is_one_there(place: Path, running: Daemon) -> None:
    line = "trap 'stty size' WINCH; echo go; while :; do sleep 0.01; done"
    with Terminal(place, running, "exec", "-it", "-s", line) as terminal:
        terminal.until(b"go\r\n")
        termios.tcsetwinsize(terminal.slave, (33, 111))
        terminal.process.send_signal(signal.SIGWINCH)
        terminal.until(b"33 111\r\n")
        terminal.type(b"\x1c")  # Ctrl-\: SIGQUIT there
        assert terminal.end() == 128 + signal.SIGQUIT
        assert terminal.restored


def test_enter_tilde_dot_leaves(place: Path, running: Daemon) -> None:
    with Terminal(place, running, "exec", "-it", "-s", "stty -isig; echo $$; cat") as terminal:
        pid = int(terminal.until(b"\n").split()[0])
        terminal.type(b"a~.\r~~\r")  # not at the beginning of a line; an escaped one
        terminal.until(b"a~.\r\n~\r\n")
        terminal.type(b"~.")
        assert terminal.end() == 130
        assert terminal.restored
    wait_until_gone(pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_restored_by_a_signal_that_ends_us(
    place: Path, running: Daemon, number: signal.Signals
) -> None:
    with Terminal(place, running, "exec", "-it", "-s", "echo go; exec sleep 600") as terminal:
        terminal.until(b"go\r\n")
        assert terminal.raw
        terminal.process.send_signal(number)
        assert terminal.end() == 128 + number
        assert terminal.restored


def test_the_terminal_is_restored_when_the_session_is_lost(place: Path, own: Daemon) -> None:
    with Terminal(place, own, "exec", "-it", "-s", "echo go; exec sleep 600") as terminal:
        terminal.until(b"go\r\n")
        own.process.kill()
        assert terminal.end() == 125
        assert terminal.restored


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Daemon]:
    (tmp_path / "own").mkdir()
    with daemon(tmp_path / "own") as made:
        yield made


def test_an_agent_on_uvloop_runs_programs_too(place: Path) -> None:
    pytest.importorskip("uvloop")
    (place / "uvloop").mkdir()
    with daemon(place / "uvloop", loop="uvloop") as made:
        data = os.urandom(2**20)
        assert run(place, made, "exec", "-i", "cat", stdin=data).stdout == data
        assert run(place, made, "exec", "-t", "-s", "tty -s; exit 3").returncode == 3
        assert run(place, made, "exec", "--deadline", "0.3", "sleep", "600").returncode == 124


@pytest.mark.root
def test_a_login_shell_is_the_users(place: Path, running: Daemon) -> None:
    with Terminal(place, running, "shell") as terminal:
        terminal.until(b"# ")
        terminal.type(b"echo $PWD; case $- in *i*) exit 4;; esac\r")
        terminal.until(b"/root\r\n")
        assert terminal.end() == 4
        assert terminal.restored


# -- processes and jobs --------------------------------------------------------------------------------------------


def test_processes_are_listed_for_people_and_programs(place: Path, running: Daemon) -> None:
    lines = run(place, running, "ps").stdout.decode().splitlines()
    assert lines[0].split() == ["USER", "PID", "PPID", "S", "CPU", "RSS", "START", "TTY", "COMMAND"]
    assert any(line.split()[1] == str(running.process.pid) and "virtagent.cli.daemon" in line for line in lines[1:])
    found = [
        json.loads(line) for line in run(place, running, "ps", "--json", "--sort", "rss", "python*").stdout.splitlines()
    ]
    assert all(each["name"].startswith("python") for each in found)
    assert [each["rss"] for each in found] == sorted((each["rss"] for each in found), reverse=True)
    assert running.process.pid in [each["pid"] for each in found]
    assert run(place, running, "ps", "-u", "no-such-user").stdout.count(b"\n") == 1


def test_a_detached_program_is_a_job(place: Path, running: Daemon) -> None:
    line = "echo one; read x; echo $x; exit 3"
    started = run(place, running, "exec", "-d", "-i", "--name", "asker", "-s", line)
    job = started.stdout.decode().strip()
    assert job.isdecimal()
    listed = run(place, running, "jobs").stdout.decode()
    assert f"{job}  running" in listed
    assert "asker" in listed
    done = run(place, running, "attach", "-i", job, stdin=b"two\n")
    assert (done.stdout, done.returncode) == (b"one\ntwo\n", 3)
    assert run(place, running, "attach", "--from", "4", "--no-follow", job).stdout == b"two\n"
    waited = run(place, running, "jobs", "wait", job)
    assert (waited.stdout.decode(), waited.returncode) == (f"{job}: exit 3\n", 3)
    assert run(place, running, "jobs", "rm", job).returncode == 0
    gone = run(place, running, "attach", job)
    assert (gone.returncode, b"there is no job" in gone.stderr) == (125, True)


def test_leaving_a_job_lets_it_go_on(place: Path, running: Daemon) -> None:
    job = json.loads(run(place, running, "--json", "exec", "-d", "-s", "echo go; exec sleep 600").stdout)
    number = str(job["job"])
    with begin(place, running, "attach", number) as process:
        assert process.stdout is not None
        read_until(process.stdout.fileno(), b"go\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
    listed = [json.loads(line) for line in run(place, running, "--json", "jobs").stdout.splitlines()]
    assert [each["state"] for each in listed if each["job"] == job["job"]] == ["running"]
    assert run(place, running, "jobs", "kill", "-s", "HUP", number).returncode == 0
    assert run(place, running, "jobs", "wait", number).returncode == 128 + signal.SIGHUP
    refused = run(place, running, "jobs", "kill", number)
    assert (refused.returncode, b"has ended" in refused.stderr) == (1, True)
    assert run(place, running, "jobs", "rm", "-f", number).returncode == 0


def test_a_program_that_is_not_there_is_no_job(place: Path, running: Daemon) -> None:
    assert run(place, running, "exec", "--detach", "no-such-program").returncode == 127


def test_the_loss_of_output_is_told(place: Path, running: Daemon) -> None:
    job = run(place, running, "exec", "-d", "--keep", "4K", "seq", "1", "100000").stdout.decode().strip()
    assert run(place, running, "jobs", "wait", job).returncode == 0
    done = run(place, running, "attach", "--from", "0", job)
    assert b"bytes of its output are not kept any more" in done.stderr
    assert done.stdout.endswith(b"\n100000\n")
    assert run(place, running, "jobs", "rm", job).returncode == 0
