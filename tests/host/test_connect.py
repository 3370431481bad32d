"""A guest with typed stubs."""

from __future__ import annotations

from pathlib import Path

import pytest

import virtagent
from virtagent.api.system import Kernel
from virtagent.guest.agent import AgentService
from virtagent.guest.files import FilesService
from virtagent.guest.log import LogService
from virtagent.guest.system import SystemService

SERVICES = (AgentService, FilesService, LogService, SystemService)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/web1.sock"


async def test_the_stubs_of_a_guest_call_it(url: str) -> None:
    async with virtagent.listen(url, services=[each() for each in SERVICES]), virtagent.connect(url) as guest:
        assert isinstance(guest, virtagent.Guest)
        assert (await guest.call("system.info"))["kernel"]["name"] == "Linux"
        assert isinstance((await guest.system.info()).kernel, Kernel)
        assert (await guest.agent.ping()).version == virtagent.__version__
        assert (await guest.files.stat("/")).kind == "directory"
        assert [each.name for each in await guest.rpc.services()] == ["agent", "files", "log", "rpc", "system"]
        assert guest.system is guest.system


async def test_options_keep_the_stubs(url: str) -> None:
    async with virtagent.listen(url, services=[AgentService()]), virtagent.connect(url) as guest:
        hurried = guest.with_options(deadline=5)
        assert (await hurried.agent.ping()).pid
        assert "agent.ping" in [each.name for each in await hurried.rpc.methods()]
        with pytest.raises(virtagent.UsageError, match="dead"):
            guest.with_options(dead=3)


async def test_a_guest_is_connected_to_by_name(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "virtagent").mkdir()
    (tmp_path / "virtagent" / "guests.toml").write_text(f'[guests.web1]\nurl = "{url}"\n')
    async with virtagent.listen(url, services=[AgentService()]), virtagent.connect("web1") as guest:
        assert (await guest.agent.ping()).open_calls == 1
    with pytest.raises(virtagent.UsageError, match="did you mean web1"):
        virtagent.connect("web2")


async def test_a_plain_peer_is_spoken_to_plainly(url: str) -> None:
    async with (
        virtagent.listen(url, services=[AgentService()]),
        virtagent.connect(f"{url}?dialect=plain") as guest,
    ):
        assert (await guest.call("agent.ping"))["version"] == virtagent.__version__
        assert guest.info is None


async def test_a_missing_socket_fails_at_once_and_is_waited_for_if_wanted(url: str) -> None:
    with pytest.raises(virtagent.ChannelUnavailable, match="no such socket"):
        await virtagent.connect(url)
    with pytest.raises(virtagent.NobodyAnswers):
        await virtagent.connect(url, wait=True, timeout=0.2)


async def test_two_services_of_one_name_are_refused(url: str) -> None:
    with pytest.raises(virtagent.UsageError, match=r"two handlers for the method 'agent\.ping'"):
        virtagent.connect(url, services=[AgentService(), AgentService()])
