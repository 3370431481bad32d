"""The live screen on a real terminal, and what becomes of it in a pipe."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.programs import LIMIT, Daemon, command_line, environment, read_until, start, virtagent


class Terminal:
    """The program on a terminal of 24 lines and 100 columns."""

    def __init__(self, running: Daemon, *arguments: str, **more: str) -> None:
        self.descriptor, inner = pty.openpty()
        self.resize(24, 100)
        self.before = termios.tcgetattr(inner)
        self._inner = inner
        self.process = subprocess.Popen(
            command_line(running.url, *arguments),
            stdin=inner,
            stdout=inner,
            stderr=subprocess.PIPE,
            env=environment(running.directory, TERM="xterm", **more),
            start_new_session=True,
        )

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size."""
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def shows(self, text: str) -> bytes:
        """Wait until this is written."""
        return read_until(self.descriptor, text.encode())

    def draws(self, title: str) -> bytes:
        """Wait for a screen with this in its title, up to the headings of its processes."""
        data = self.shows(title)
        if b"COMMAND" not in data.rpartition(title.encode())[2]:
            data += self.shows("COMMAND")
        return data.rpartition(title.encode())[2]

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self.descriptor, keys.encode())

    def ends(self) -> int:
        """Wait for the end; the exit code."""
        # What is still written would fill the terminal's buffer.
        os.set_blocking(self.descriptor, False)
        while True:
            try:
                return self.process.wait(0.05)
            except subprocess.TimeoutExpired:
                try:
                    os.read(self.descriptor, 65536)
                except BlockingIOError:
                    continue

    def is_as_before(self) -> bool:
        """Whether keys are shown and wait for Enter again."""
        return bool(termios.tcgetattr(self._inner)[3] == self.before[3])

    def close(self) -> None:
        """Leave nothing behind."""
        self.process.kill()
        self.process.communicate(timeout=LIMIT)
        os.close(self.descriptor)
        os.close(self._inner)


@pytest.fixture
def terminal(running: Daemon) -> Iterator[Terminal]:
    made = Terminal(running, "top", "-i", "0.1")
    yield made
    made.close()


def test_processes_are_watched_until_q(terminal: Terminal) -> None:
    text = terminal.shows("COMMAND")
    assert b"\x1b[?1049h" in text
    terminal.shows("CPU*")
    terminal.shows("processes:")
    assert not terminal.is_as_before()
    terminal.press("q")
    assert terminal.ends() == 0
    assert terminal.is_as_before()


def test_keys_choose_the_order_and_stop_the_screen(terminal: Terminal) -> None:
    terminal.shows("CPU*")
    terminal.press("m")
    terminal.shows("MEMORY*")
    terminal.press("c")
    terminal.shows("CPU*")
    terminal.press(" ")
    terminal.shows("stopped")
    terminal.press("xyz")
    terminal.press(" q")
    assert terminal.ends() == 0


def test_a_terminal_of_another_size_is_filled_anew(terminal: Terminal) -> None:
    terminal.shows("COMMAND")
    terminal.press(" ")
    assert b"THREADS" in terminal.draws("stopped")
    terminal.resize(40, 60)
    terminal.process.send_signal(signal.SIGWINCH)
    assert b"THREADS" not in terminal.draws("stopped")
    terminal.resize(50, 120)
    terminal.process.send_signal(signal.SIGWINCH)
    terminal.shows("THREADS")
    terminal.press("q")
    assert terminal.ends() == 0


def test_ctrl_c_ends_it_quietly_and_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    terminal.shows("COMMAND")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.ends() == 130
    assert terminal.is_as_before()
    assert terminal.process.stderr is not None
    assert terminal.process.stderr.read() == b""


def test_no_colours_are_used_with_no_color(running: Daemon) -> None:
    made = Terminal(running, "top", "-i", "0.1", NO_COLOR="1")
    try:
        assert b"\x1b[32m" not in made.shows("processes:")
        made.press("q")
        assert made.ends() == 0
    finally:
        made.close()


def test_in_a_pipe_it_is_one_look_without_any_control_characters(running: Daemon) -> None:
    for arguments in (["top", "-i", "0.1", "-n", "3"], ["top", "--once", "-i", "0.1", "-n", "3"]):
        done = virtagent(running.directory, running.url, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout
        assert "CPU     TIME" in done.stdout
        assert len(done.stdout.partition("COMMAND\n")[2].splitlines()) == 3


def test_json_is_a_sample_a_line_without_end(running: Daemon) -> None:
    process = start(running.directory, running.url, ["top", "--json", "-i", "0.05", "-n", "2"])
    assert process.stdout is not None
    samples = [json.loads(process.stdout.readline()) for _ in range(3)]
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 130
    process.stdout.close()
    numbers = [each["number"] for each in samples]
    assert numbers == sorted(set(numbers))
    assert all(len(each["processes"]) == 2 for each in samples)


def test_a_guests_names_cannot_command_the_terminal(running: Daemon, tmp_path: Path) -> None:
    evil = tmp_path / "evil\x1b[2J"
    evil.write_text("#!/bin/sh\nread x\n")
    evil.chmod(0o755)
    with subprocess.Popen([str(evil)], stdin=subprocess.PIPE) as process:
        done = virtagent(running.directory, running.url, "top", "--once", "-n", "1000", "-i", "0.05")
        process.communicate(b"\n", timeout=LIMIT)
    assert "evil\\x1b[2J" in done.stdout
    assert "\x1b" not in done.stdout
