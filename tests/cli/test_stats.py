"""Statistics as lines, tables, JSON and pictures."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.programs import LIMIT, Daemon, command_line, environment, start, virtagent
from virtagent.cli.stats import changes_only
from virtagent.cli.target import Settings


@pytest.mark.parametrize(
    ("url", "said", "expected"),
    [
        ("serial:/dev/ttyS1?baud=115200", None, True),
        ("unix:/run/x.sock?chardev=serial", None, True),
        ("unix:/run/x.sock", None, False),
        ("unix:/run/x.sock", True, True),
        ("serial:/dev/ttyS1?baud=115200", False, False),
    ],
)
def test_slow_lines_carry_changes_only_unless_said_otherwise(url: str, said: bool | None, expected: bool) -> None:
    assert changes_only(Settings(to=url), said) is expected


def ok(running: Daemon, *arguments: str) -> str:
    done = virtagent(running.directory, running.url, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_one_sample_is_lines_and_tables(running: Daemon) -> None:
    text = ok(running, "stats", "-i", "0.1")
    for wanted in ("cpu: ", "load: ", "memory: ", "processes: ", "INTERFACE", "PID"):
        assert wanted in text
    assert "%" in text
    assert "\x1b" not in text


def test_one_sample_as_json_holds_the_groups_that_are_wanted(running: Daemon) -> None:
    (line,) = ok(running, "stats", "--json", "-i", "0.1", "--groups", "cpu,network").splitlines()
    sample = json.loads(line)
    assert sample["cpu"]["percent"] is not None
    assert "lo" in sample["network"]
    assert (sample["memory"], sample["processes"]) == (None, {})


@pytest.mark.parametrize("way", ["--whole", "--changes-only"])
def test_followed_samples_are_a_line_each(running: Daemon, way: str) -> None:
    process = start(running.directory, running.url, ["stats", "-f", "--json", "-i", "0.05", way, "--groups", "memory"])
    assert process.stdout is not None
    samples = [json.loads(process.stdout.readline()) for _ in range(3)]
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 130
    process.stdout.close()
    assert all(each["memory"]["total"] > 0 for each in samples)
    assert len({each["number"] for each in samples}) == 3


def test_following_ends_when_the_time_is_over(running: Daemon) -> None:
    heading, *lines = ok(running, "stats", "-i", "0.1", "--for", "0.5").splitlines()
    assert heading.split()[:3] == ["TIME", "CPU", "LOAD"]
    assert lines
    assert all("%" in line for line in lines)


def test_a_reader_that_leaves_ends_it(running: Daemon) -> None:
    process = start(running.directory, running.url, ["stats", "-f", "-i", "0.05"], stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(LIMIT) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_recorded_time_becomes_a_picture(running: Daemon, tmp_path: Path) -> None:
    for ending in ("svg", "png", "html"):
        path = tmp_path / f"plot.{ending}"
        told = ok(running, "stats", "--plot", str(path), "--for", "0.4", "-i", "0.1", "--json")
        assert json.loads(told)["samples"] >= 3
        data = path.read_bytes()
        if ending == "png":
            width, height = struct.unpack(">II", data[16:24])
            assert width > 1000 < height
        if ending == "svg":
            words = " ".join(ElementTree.fromstring(data).itertext())
            for wanted in ("Processors", "Memory", "cpu 0", "used"):
                assert wanted in words
        if ending == "html":
            assert data.count(b"<svg") >= 3
            assert b"http-equiv" not in data


def test_ctrl_c_plots_what_there_is(running: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    trace = tmp_path / "trace"
    command = command_line(running.url, "stats", "--plot", str(path), "--for", "3000", "-i", "0.05")
    process = subprocess.Popen([*command, "--trace", str(trace)], env=environment(tmp_path), stdin=subprocess.DEVNULL)
    while not (trace.exists() and trace.stat().st_size > 20_000):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 130
    assert b"Processors" in path.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--groups", "cpu,gpu"], "there is no group 'gpu'"),
        (["-i", "0.01"], "0.01 is not in the range"),
        (["--plot", "x.pdf"], "a plot is one of"),
        (["--plot", "/nope/x.svg"], "cannot be written"),
        (["--plot", "x.svg", "--for", "1", "-i", "1"], "too few for a plot"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_measured(
    running: Daemon, tmp_path: Path, arguments: list[str], told: str
) -> None:
    done = virtagent(running.directory, running.url, "stats", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
