"""How soon a daemon answers after its start, and what it weighs when idle."""

from __future__ import annotations

import os
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


def connected(path: str) -> socket.socket:
    """A connection to a server that is starting: tried every millisecond for 20 seconds."""
    for _ in range(20_000):
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(path)
        except OSError:
            client.close()
            time.sleep(0.001)
        else:
            return client
    raise SystemExit(f"nothing listens on {path}")


def bare_answer(client: socket.socket) -> None:
    client.sendall(msgpack.packb([0, 1, "echo", {}]))
    client.recv(4096)


def our_answer(client: socket.socket) -> None:
    """The first call over the sans-I/O core: no event loop on this side, which would be measured too."""
    now = time.monotonic
    core = Connection(Identity(), draw=lambda bits: 7 << (bits - 8), now=now())
    core.channel_made(SocketFacts(), connecting=True, now=now())
    called = False
    while True:
        for piece in core.data_to_send(now()):
            client.sendall(piece)
        events = core.receive_data(client.recv(65536), now())
        if any(isinstance(event, Call) for event in events):
            return
        if core.up and not called:
            called = True
            core.call("agent.ping", {}, now())


def measure(arguments: list[str], path: str, ours: bool) -> tuple[float, float]:
    """Seconds from the start of the process to its first answer, and its idle RSS in MiB."""
    Path(path).unlink(missing_ok=True)
    started = time.perf_counter()
    # As installed: pip compiles what it installs, and an editable tree must be allowed to keep what it compiles.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.DEVNULL, env=environment)
    try:
        client = connected(path)
        (our_answer if ours else bare_answer)(client)
        elapsed = time.perf_counter() - started
        client.close()
        status = Path(f"/proc/{process.pid}/status").read_text()
        rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        return elapsed, rss / 1024
    finally:
        process.terminate()
        process.wait()


def bare(directory: Path) -> tuple[float, float]:
    """A bare asyncio + msgpack process."""
    path = str(directory / "bare-start.sock")
    return measure([str(Path(__file__).with_name("bare_start.py")), path], path, ours=False)


def daemon(directory: Path, loop: str = "asyncio") -> tuple[float, float]:
    """virtagentd with its own services; with asyncio as a core install has it, or with the extra uvloop."""
    path = str(directory / f"daemon-start-{loop}.sock")
    return measure(["-m", "virtagent.cli.daemon", "--loop", loop, "--channel", f"unix:{path}"], path, ours=True)
