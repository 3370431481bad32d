"""The service manager hears that the event loop lives, and a loop that hangs is told with its stack."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from virtagent.guest.manager_watchdog import SHARE, watchdog_interval

PATIENCE = 30.0


@contextmanager
def daemon(directory: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], socket.socket]]:
    """A daemon under a service manager, which is the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(PATIENCE)
        manager.bind(str(directory / "notify"))
        process = subprocess.Popen(
            [sys.executable, "-m", "virtagent.cli.daemon", "--channel", f"unix:{directory}/a.sock"],
            env={
                **os.environ,
                "NOTIFY_SOCKET": str(directory / "notify"),
                "VIRTAGENT_RUNTIME_DIR": str(directory),
                **environment,
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process, manager
        finally:
            process.kill()
            process.communicate()


def heard(manager: socket.socket) -> str:
    return manager.recv(4096).decode().split("\n")[0]


@pytest.mark.parametrize(
    ("usec", "pid", "interval"),
    [
        ("3000000", "", 3.0 / SHARE),
        ("3000000", "own", 3.0 / SHARE),
        ("3000000", "1", None),
        ("0", "", None),
        ("-5", "", None),
        ("soon", "", None),
        ("", "", None),
    ],
)
def test_only_the_process_that_is_meant_gives_signs_of_life(
    usec: str, pid: str, interval: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert watchdog_interval() == interval


def test_a_daemon_that_is_watched_gives_signs_of_life_until_it_stops(tmp_path: Path) -> None:
    with daemon(tmp_path, WATCHDOG_USEC="60000") as (process, manager):
        assert heard(manager) == "READY=1"
        for _ in range(5):
            assert heard(manager) == "WATCHDOG=1"
        process.send_signal(signal.SIGTERM)
        told = heard(manager)
        while told == "WATCHDOG=1":
            told = heard(manager)
        assert told == "STOPPING=1"
        assert process.wait(PATIENCE) == 0


def test_a_daemon_that_nobody_watches_gives_none(tmp_path: Path) -> None:
    with daemon(tmp_path, WATCHDOG_USEC="60000", WATCHDOG_PID="1") as (process, manager):
        assert heard(manager) == "READY=1"
        process.send_signal(signal.SIGTERM)
        assert heard(manager) == "STOPPING=1"


def test_a_daemon_that_the_watchdog_ends_writes_where_it_was(tmp_path: Path) -> None:
    with daemon(tmp_path, WATCHDOG_USEC="60000") as (process, manager):
        assert [heard(manager), heard(manager)] == ["READY=1", "WATCHDOG=1"]
        process.send_signal(signal.SIGABRT)
        assert process.stderr is not None
        told = process.stderr.read()
        assert process.wait(PATIENCE) == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in told
    assert "virtagent/cli/daemon.py" in told
