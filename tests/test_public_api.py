"""What ``import virtagent`` offers, and what it does not load."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import virtagent
import virtagent.errors


def test_the_public_names_are_sorted_and_unique() -> None:
    assert virtagent.__all__ == sorted(set(virtagent.__all__))


@pytest.mark.parametrize("name", virtagent.__all__)
def test_every_public_name_resolves_and_is_listed(name: str) -> None:
    assert getattr(virtagent, name) is not None
    assert name in dir(virtagent)


def test_every_error_class_is_public() -> None:
    classes = {name for name in virtagent.errors.__all__ if name[0].isupper()}
    assert classes <= set(virtagent.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="conect"):
        _ = virtagent.conect  # type: ignore[attr-defined]


@pytest.mark.parametrize("statement", ["import virtagent", "import virtagent.errors", "from virtagent import UrlError"])
def test_importing_loads_neither_asyncio_nor_msgpack(statement: str) -> None:
    program = f"import sys; {statement}; print([m for m in ('asyncio', 'msgpack', 'msgspec') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


def test_the_types_of_public_names_are_seen_by_mypy(tmp_path: Path) -> None:
    """The interfaces, not Any: a wrong attribute of a typed stub is an error."""
    source = tmp_path / "program.py"
    source.write_text(
        "import virtagent\n"
        "async def main() -> None:\n"
        "    async with virtagent.connect('unix:/x') as guest:\n"
        "        reveal_type((await guest.system.info()).kernel.release)\n"
        "        reveal_type((await guest.with_options(deadline=1).agent.ping()).version)\n"
        "        await guest.system.inof()\n"
        "    virtagent.conect\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(source)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=55, check=False, cwd=Path(__file__).parent.parent
    )
    assert done.stdout.count('Revealed type is "builtins.str"') + done.stdout.count('Revealed type is "str"') == 2
    assert '"GuestSystem" has no attribute "inof"' in done.stdout
    assert "conect" in done.stdout


@dataclass
class Snapshot:
    path: str
    level: int


class Backup(virtagent.Service, name="backup"):
    async def snapshot(self, path: str, *, level: int = 3, ctx: virtagent.Context) -> Snapshot:
        await ctx.peer.call("progress.report", percent=10)
        return Snapshot(path, level)


class Progress(virtagent.Service, name="progress"):
    def __init__(self) -> None:
        self.reports: list[int] = []

    @virtagent.method(inline=True)
    async def report(self, percent: int) -> None:
        self.reports.append(percent)


async def test_services_work_on_both_sides_at_once(tmp_path: Path) -> None:
    url = f"unix:{tmp_path}/backup.sock"
    progress = Progress()
    peers: list[virtagent.Peer] = []
    async with (
        virtagent.listen(url, services=[Backup()], on_peer=peers.append, role="guest", name="web1"),
        virtagent.connect(url, services=[progress]) as guest,
    ):
        assert await guest.call("backup.snapshot", path="/srv", level=2) == {"path": "/srv", "level": 2}
        assert progress.reports == [10]
        assert [each.name for each in await guest.rpc.methods()] == [
            "backup.snapshot",
            "rpc.describe",
            "rpc.methods",
            "rpc.services",
        ]
        assert "progress.report" in [each["name"] for each in await peers[0].call("rpc.methods")]
        assert guest.info is not None
        assert (guest.info.identity.role, guest.info.identity.name) == ("guest", "web1")
        assert len(guest.info.identity.digest) == 16
        assert peers[0].info is not None
        assert peers[0].info.identity.role == "host"
        assert peers[0].info.identity.digest not in ("", guest.info.identity.digest)


async def test_every_session_of_a_peer_is_told(tmp_path: Path) -> None:
    url = f"unix:{tmp_path}/x.sock"
    sessions: asyncio.Queue[virtagent.Peer] = asyncio.Queue()
    async with asyncio.timeout(10), virtagent.listen(url), virtagent.connect(url) as guest:
        guest.on_session = sessions.put_nowait
        assert guest.channel is not None
        guest.channel.abort()
        assert await sessions.get() is guest
        assert guest.state is virtagent.PeerState.UP
