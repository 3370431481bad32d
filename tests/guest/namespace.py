"""A guest with the network service in a network namespace of its own: what is changed there harms nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import virtagent
from virtagent.host.guest import Guest

LIMIT = 30.0

SERVE = """
import asyncio, os, sys
import virtagent
from virtagent.guest.network import NetworkService
async def main():
    async with virtagent.listen(sys.argv[1], services=[NetworkService()]) as listening:
        await listening.serve_forever()
asyncio.run(main())
"""


class Namespace:
    """A running guest in its namespace."""

    def __init__(self, guest: Guest, pid: int) -> None:
        self.guest = guest
        self.pid = pid

    def run(self, *command: str) -> str:
        """Run a command in the namespace; its output."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.pid), "--net", *command],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=True,
        )
        return done.stdout

    def ip(self, *arguments: str) -> Any:
        """What ip(8) tells, as data."""
        text = self.run("ip", "-json", *arguments)
        return json.loads(text) if text.strip() else None


@asynccontextmanager
async def namespace(folder: Path) -> AsyncIterator[Namespace]:
    """A guest whose machine has the loopback interface and a pair ``left`` and ``right``; ``right`` is up."""
    url = f"unix:{folder}/guest.sock"
    command = ["unshare", "--net", sys.executable, "-W", "error", "-c", SERVE, url]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: ASYNC220 - it returns at once
    try:
        async with virtagent.connect(url, wait=True, timeout=LIMIT) as guest:
            made = Namespace(guest, process.pid)
            made.run("ip", "link", "set", "lo", "up")
            made.run("ip", "link", "add", "left", "type", "veth", "peer", "name", "right")
            made.run("ip", "link", "set", "right", "up")
            yield made
    finally:
        process.kill()
        errors = process.communicate(timeout=LIMIT)[1]
    assert errors == ""
