"""How soon a daemon answers after its start, and what it weighs when idle."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgpack

from virtagent.protocol.announcement import Identity
from virtagent.protocol.connection import Connection
from virtagent.protocol.rpc import Call


class SocketFacts:
    """The facts of a unix socket."""

    scheme = "unix"
    lossless = True
    stale = False
    speaks_first = False
    line_rate = None
    exclusive = False


START_TIMEOUT = 20.0
"""Seconds in which a process must answer."""

STOP_TIMEOUT = 5.0
"""Seconds that it is given to end by itself."""


class StartFailed(Exception):
    """A process did not come up; one line says which."""


def connected(path: str, process: subprocess.Popen[bytes]) -> socket.socket:
    """A connection to a process that is starting: tried every millisecond.

    Raises:
        StartFailed: it ended, or does not listen in time.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(START_TIMEOUT)
        try:
            client.connect(path)
        except OSError:
            client.close()
            time.sleep(0.001)
        else:
            return client
    state = "does not listen" if process.poll() is None else f"ended with exit code {process.returncode}"
    raise StartFailed(f"{command(process)} {state}")


def command(process: subprocess.Popen[bytes]) -> str:
    """How a process was started, to start it by hand."""
    return shlex.join(str(each) for each in process.args)  # type: ignore[union-attr]


def answer(client: socket.socket, ours: bool, process: subprocess.Popen[bytes]) -> None:
    """Get the first answer of a process."""
    try:
        (our_answer if ours else bare_answer)(client)
    except ConnectionError:
        raise StartFailed(f"{command(process)} closed the connection instead of answering") from None
    except TimeoutError:
        raise StartFailed(f"{command(process)} listens, but does not answer in {START_TIMEOUT:g} s") from None


def received(client: socket.socket) -> bytes:
    """Some bytes.

    Raises:
        ConnectionError: the connection was closed.
        TimeoutError: nothing comes.
    """
    data = client.recv(65536)
    if not data:
        raise ConnectionResetError
    return data


def bare_answer(client: socket.socket) -> None:
    client.sendall(msgpack.packb([0, 1, "echo", {}]))
    received(client)


def our_answer(client: socket.socket) -> None:
    """The first call over the sans-I/O core: no event loop on this side, which would be measured too."""
    now = time.monotonic
    core = Connection(Identity(), draw=lambda bits: 7 << (bits - 8), now=now())
    core.channel_made(SocketFacts(), connecting=True, now=now())
    called = False
    while True:
        for piece in core.data_to_send(now()):
            client.sendall(piece)
        events = core.receive_data(received(client), now())
        if any(isinstance(event, Call) for event in events):
            return
        if core.up and not called:
            called = True
            core.call("agent.ping", {}, now())


def measure(arguments: list[str], path: str, ours: bool) -> tuple[float, float]:
    """Seconds from the start of the process to its first answer, and its idle RSS in MiB.

    Raises:
        StartFailed: it does not come up.
    """
    Path(path).unlink(missing_ok=True)
    started = time.perf_counter()
    # As installed: pip compiles what it installs, and an editable tree must be allowed to keep what it compiles.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.DEVNULL, env=environment)
    try:
        with connected(path, process) as client:
            answer(client, ours, process)
            elapsed = time.perf_counter() - started
        status = Path(f"/proc/{process.pid}/status").read_text()
        rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        return elapsed, rss / 1024
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, at once if it does not end by itself."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def bare(directory: Path) -> tuple[float, float]:
    """A bare asyncio + msgpack process."""
    path = str(directory / "bare-start.sock")
    return measure([str(Path(__file__).with_name("bare_start.py")), path], path, ours=False)


def daemon(directory: Path, loop: str = "asyncio") -> tuple[float, float]:
    """virtagentd with its own services; with asyncio as a core install has it, or with the extra uvloop."""
    path = str(directory / f"daemon-start-{loop}.sock")
    return measure(["-m", "virtagent.cli.daemon", "--loop", loop, "--channel", f"unix:{path}"], path, ours=True)
