"""The measuring programs' own ends: the channel's echo, qemu-ga's client, an agent's process, samples."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from benchmarks.guest import in_guest
from benchmarks.guest.agent_process import AgentError, AgentProcess, drop_in_folder, running
from benchmarks.guest.blocking_channel import BlockingChannel
from benchmarks.guest.qemu_ga_client import QemuGaClient, QemuGaError
from benchmarks.guest.samples import WARM_UP, summary, timed, timed_blocking
from virtagent.service.loading import load_folder


@pytest.fixture
def directory() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name."""
    with TemporaryDirectory(prefix="guest-") as path:
        yield Path(path)


@contextmanager
def served(path: Path, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    """One connection to a unix socket is served in a thread, which must have ended at the end."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        yield
        thread.join(10)
        assert not thread.is_alive()


class HostGone(Exception):
    """In the place of a nap while no host is connected."""


@pytest.fixture
def guest_port(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, bytes]]:
    """in_guest.py over a socket in the place of a virtio port, and what its file holds."""
    content = os.urandom(200_000)
    (directory / "file").write_bytes(content)

    def nap(_: float) -> None:
        raise HostGone

    monkeypatch.setattr(in_guest, "time", type("Time", (), {"sleep": staticmethod(nap)}))

    def serve(connection: socket.socket) -> None:
        with (directory / "file").open("rb") as file, pytest.raises(HostGone):
            in_guest.serve(connection.fileno(), file.fileno())

    with served(directory / "port", serve):
        yield directory / "port", content


def test_the_channels_echo_and_its_rates(guest_port: tuple[Path, bytes]) -> None:
    path, content = guest_port
    with BlockingChannel(path) as channel:
        for _ in range(3):
            channel.echo()
        assert channel.raw_rate(3_000_001) > 0
        assert channel.file_rate(len(content)) > 0
        channel.echo()


def test_the_file_comes_as_it_is(guest_port: tuple[Path, bytes]) -> None:
    path, content = guest_port
    with socket.socket(socket.AF_UNIX) as host:
        host.connect(str(path))
        host.sendall((b"F" + len(content).to_bytes(8, "big")).ljust(in_guest.SIZE, b"."))
        received = b""
        while len(received) < len(content):
            received += host.recv(1 << 16)
    assert received == content


def answering(answers: list[bytes]) -> Callable[[socket.socket], None]:
    """Serves one answer for each line that comes."""

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            for answer, line in zip(answers, lines, strict=False):
                assert "execute" in json.loads(line)
                for start in range(0, len(answer), 7):  # in small pieces, as a stream may
                    connection.sendall(answer[start : start + 7])

    return serve


def test_a_file_is_read_until_qemu_ga_says_that_it_ends(directory: Path) -> None:
    def piece(data: bytes, *, eof: bool) -> bytes:
        content = {"count": len(data), "buf-b64": base64.b64encode(data).decode(), "eof": eof}
        return json.dumps({"return": content}).encode() + b"\n"

    answers = [b'{"return": 1000}\n', piece(b"a" * 50, eof=False), piece(b"b" * 21, eof=True), b'{"return": {}}\n']
    with served(directory / "ga", answering(answers)), QemuGaClient(directory / "ga") as client:
        assert client.read_file(Path("/f"), 50) == 71


def test_an_error_of_qemu_ga_is_told(directory: Path) -> None:
    error = b'{"error": {"class": "CommandNotFound", "desc": "The command guest-ping has been disabled"}}\n'
    with (
        served(directory / "ga", answering([error])),
        QemuGaClient(directory / "ga") as client,
        pytest.raises(QemuGaError, match="guest-ping: .*has been disabled"),
    ):
        client.ping()


def test_a_connection_that_ends_before_the_answer_is_told(directory: Path) -> None:
    with (
        served(directory / "ga", answering([b'{"return":'])),
        QemuGaClient(directory / "ga") as client,
        pytest.raises(QemuGaError, match="the connection ended"),
    ):
        client.ping()


def test_an_agents_cost_and_place_are_those_of_its_process() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        agent = AgentProcess(process.pid, Path("/nowhere"))
        assert agent.cpu_seconds() >= 0
        assert 0 < agent.rss() <= agent.peak_rss() < 1000
        one = max(os.sched_getaffinity(0))
        agent.pin({one})
        assert os.sched_getaffinity(process.pid) == {one}
        process.communicate(b"\n")


def test_an_agent_that_ends_at_once_is_told_in_one_line(directory: Path) -> None:
    with (
        pytest.raises(AgentError, match="ended with status 3"),
        running([sys.executable, "-c", "raise SystemExit(3)"], directory / "never"),
    ):
        pass


def test_our_agent_loads_what_is_measured(directory: Path) -> None:
    directory.chmod(0o700)
    loading = load_folder(drop_in_folder(directory))
    assert drop_in_folder(directory).stat().st_mode & 0o077 == 0
    assert not loading.problems
    handlers = {handler.name: handler.mode for service in loading.loaded for handler in service.handlers}
    assert handlers == {"measured.nothing": "inline", "measured.echo": "inline"}


def test_percentiles_are_in_microseconds() -> None:
    samples = [0.000_001 * each for each in range(1, 200)]
    found = summary("x/y", samples)
    assert found == {"x/y/p50_us": pytest.approx(100), "x/y/p99_us": pytest.approx(198)}


async def test_calls_are_warmed_up_and_counted() -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1

    async def acall() -> None:
        call()

    began = time.perf_counter()
    samples = timed_blocking(call, 50) + await timed(acall, 70)
    assert len(samples) == 120
    assert calls == 120 + 2 * WARM_UP
    assert 0 <= sum(samples) <= time.perf_counter() - began
