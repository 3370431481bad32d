"""The environment of the other libraries: ``.venv-peers``, made from the lock file."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
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
    """Install all that is locked; where that fails, each package by itself. What failed, by peer."""
    if pip(python, "--require-hashes", "-r", str(lock)) is None:
        return {}
    failed = {}
    with tempfile.TemporaryDirectory() as directory:
        single = Path(directory) / "requirement"
        for name, requirement in requirements(lock.read_text()).items():
            single.write_text(requirement)
            if (why := pip(python, "--no-deps", "--require-hashes", "-r", str(single))) is not None:
                failed[name] = why
    return {
        peer.name: f"{name} cannot be installed: {failed[name]}"
        for peer in peers
        for name in peer.distributions
        if name in failed
    }


def requirements(lock: str) -> dict[str, str]:
    """The requirements of a lock file with their hashes, by the package's name."""
    found = re.findall(r"^([a-z0-9][a-z0-9._-]*)(==.*(?:\n .*)*)", lock, re.MULTILINE)
    return {name: f"{name}{rest}\n" for name, rest in found}


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
