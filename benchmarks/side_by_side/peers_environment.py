"""The environment of the other libraries: ``.venv-peers``, made from the lock file."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from benchmarks.peers.peer import Peer
from benchmarks.side_by_side.pair import ROOT

__all__ = ["PeersEnvironment", "prepare"]

LOCK = ROOT / "benchmarks" / "peers" / "requirements.lock"
DIRECTORY = ROOT / ".venv-peers"
INSTALL_TIMEOUT = 900.0
PIP = ("-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input")


@dataclass(frozen=True, slots=True)
class PeersEnvironment:
    """Where the other libraries are.

    Attributes:
        python: its interpreter.
        failures: why a peer could not be installed, by the peer's name.
        versions: what is installed.
    """

    python: str
    failures: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def prepare(peers: Iterable[Peer], directory: Path = DIRECTORY, lock: Path = LOCK) -> PeersEnvironment:
    """Make the environment, or find that it is as the lock file wants it.

    A library that cannot be installed does not keep the others from being measured.
    """
    python = directory / "bin" / "python"
    stamp = directory / "installed.json"
    wanted = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    failures: dict[str, str] = {}
    if not (stamp.exists() and json.loads(stamp.read_text()) == wanted):
        print(f"setting up {directory.name} ...", file=sys.stderr)
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True, timeout=INSTALL_TIMEOUT)
        failures = install(str(python), lock, peers)
        if not failures:
            stamp.write_text(json.dumps(wanted))
    return PeersEnvironment(str(python), failures, versions(directory))


def install(python: str, lock: Path, peers: Iterable[Peer]) -> dict[str, str]:
    """Install all that is locked; where that fails, what each peer needs by itself. What failed, by peer."""
    if pip(python, "--require-hashes", "-r", str(lock)) is None:
        return {}
    failures = {}
    for peer in peers:
        if peer.distributions and (why := pip(python, "-c", str(lock), *peer.distributions)) is not None:
            failures[peer.name] = f"cannot be installed: {why}"
    return failures


def pip(python: str, *arguments: str) -> str | None:
    """Install something; why that failed, or None."""
    try:
        done = subprocess.run(
            [python, *PIP, *arguments], capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return f"pip took longer than {INSTALL_TIMEOUT:.0f} s"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["pip failed"])[-1].removeprefix("ERROR: ")[:200]


def versions(directory: Path) -> dict[str, str]:
    """What is installed there."""
    places = [str(path) for path in directory.glob("lib/python3.*/site-packages")]
    return {each.metadata["Name"].lower(): each.version for each in metadata.distributions(path=places)}
