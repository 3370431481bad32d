"""The two programs as people run them: subprocesses over real sockets."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

LIMIT = 40.0
"""Seconds that anything here may take; only a hang reaches it."""


@dataclass
class Daemon:
    """A running daemon."""

    process: subprocess.Popen[str]
    url: str
    directory: Path
    notes: list[str]

    def stop(self, which: signal.Signals = signal.SIGTERM) -> str:
        """Stop it; its log."""
        self.process.send_signal(which)
        return self.process.communicate(timeout=LIMIT)[1]

    def log_until(self, text: str) -> str:
        """Its log up to the line with this text, which is waited for."""
        assert self.process.stderr is not None
        lines: list[str] = []
        while not (lines and text in lines[-1]):
            lines.append(self.process.stderr.readline())
            assert lines[-1], f"{text!r} is not in {''.join(lines)}"
        return "".join(lines)

    def status(self, field: str) -> int:
        """A number of /proc/PID/status."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
        raise KeyError(field)


def environment(directory: Path, **more: str) -> dict[str, str]:
    """Nothing of this machine's guests, and no colours."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("VIRTAGENT", "XDG", "NOTIFY"))}
    own = {
        "XDG_CONFIG_HOME": str(directory / "config"),
        "VIRTAGENT_LIBVIRT_CHANNELS": str(directory / "libvirt"),
        "VIRTAGENT_RUNTIME_DIR": str(directory / "runtime"),
        "VIRTAGENT_STATE_DIR": str(directory / "state"),
        "TZ": "UTC",
    }
    return {**kept, **own, **more}


@contextlib.contextmanager
def daemon(directory: Path, *arguments: str, loop: str = "asyncio") -> Iterator[Daemon]:
    """A daemon that is ready, as its service manager would know it."""
    url = f"unix:{directory}/guest.sock"
    notify = directory / "notify"
    notify.unlink(missing_ok=True)
    command = [sys.executable, "-W", "error", "-m", "virtagent.cli.daemon", "--channel", url, "--loop", loop]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(notify))
        manager.settimeout(LIMIT)
        process = subprocess.Popen(
            [*command, "--name", "web1", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env=environment(directory, NOTIFY_SOCKET=str(notify)),
        )
        try:
            made = Daemon(process, url, directory, notes=[manager.recv(4096).decode()])
            yield made
            with contextlib.suppress(BlockingIOError):
                manager.setblocking(False)
                made.notes.append(manager.recv(4096).decode())
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=LIMIT)


def command_line(url: str | None, *arguments: str) -> list[str]:
    """The host's program."""
    target = [] if url is None else ["--to", url]
    return [sys.executable, "-W", "error", "-m", "virtagent.cli.main", *target, *arguments]


def virtagent(directory: Path, url: str | None, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the host's program to its end."""
    return subprocess.run(
        command_line(url, *arguments),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env=environment(directory, **more),
        stdin=subprocess.DEVNULL,
    )


def start(directory: Path, url: str, arguments: Sequence[str], *, stderr: int | None = None) -> subprocess.Popen[bytes]:
    """Start the host's program with its output in a pipe."""
    return subprocess.Popen(
        command_line(url, *arguments),
        env=environment(directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )


def read_until(descriptor: int, wanted: bytes) -> bytes:
    """Read until something has come; what was read."""
    found = b""
    end = time.monotonic() + LIMIT
    while wanted not in found:
        if not select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
            raise TimeoutError(f"{wanted!r} did not come; only {found!r}")
        data = os.read(descriptor, 65536)
        if not data:
            raise EOFError(f"{wanted!r} did not come; only {found!r}")
        found += data
    return found
