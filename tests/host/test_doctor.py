"""The host's half of the doctor: the channel, its holder, the agent behind it."""

from __future__ import annotations

import asyncio
import os
import socket
from datetime import timedelta
from pathlib import Path

import pytest

import virtagent
from virtagent.api.agent import Agent, Pong
from virtagent.api.health import Finding
from virtagent.errors import NobodyAnswers
from virtagent.guest import facts
from virtagent.host.doctor import examine_channel, examine_guest, not_connected
from virtagent.peer.lock import ChannelLock
from virtagent.service.options import method

LIMIT = 20.0


class Shifted(Agent):
    """An agent of another version, with a clock of its own."""

    def __init__(self, seconds: float, version: str) -> None:
        self._shift = timedelta(seconds=seconds)
        self._version = version

    @method(inline=True)
    async def ping(self) -> Pong:
        return Pong(time=facts.now() + self._shift, agent_uptime=1, session_uptime=1, version=self._version)


async def examined(directory: Path, agent: Agent | None) -> dict[str, Finding]:
    url = f"unix:{directory}/guest.sock"
    async with (
        asyncio.timeout(LIMIT),
        virtagent.listen(url, services=[] if agent is None else [agent], role="guest", name="web1"),
        virtagent.connect(url) as guest,
    ):
        return {each.check: each async for each in examine_guest(guest, 0.25)}


async def test_an_agent_in_order_is_told_as_that(tmp_path: Path) -> None:
    found = await examined(tmp_path, Shifted(0, virtagent.__version__))
    assert list(found) == ["agent", "latency", "version", "clocks"]
    assert {each.verdict for each in found.values()} == {"ok"}
    assert found["agent"].message.startswith("web1 (virtagent ")
    assert found["agent"].message.endswith("was up after 250 ms")


@pytest.mark.parametrize(("seconds", "told"), [(90, "ahead of"), (-90, "behind")])
async def test_clocks_that_are_apart_are_told(seconds: float, told: str, tmp_path: Path) -> None:
    found = (await examined(tmp_path, Shifted(seconds, virtagent.__version__)))["clocks"]
    assert found.verdict == "warn"
    assert told in found.message
    assert abs(float(found.message.split()[3]) - 90) < LIMIT


async def test_two_versions_are_told(tmp_path: Path) -> None:
    found = (await examined(tmp_path, Shifted(0, "0.0.9")))["version"]
    assert (found.verdict, found.message) == ("warn", f"the guest has 0.0.9, this machine {virtagent.__version__}")


async def test_an_agent_without_its_services_is_told(tmp_path: Path) -> None:
    found = await examined(tmp_path, None)
    assert found["agent"].verdict == "fail"
    assert "does not answer calls" in found["agent"].message


def verdicts(url: str) -> list[tuple[str, str]]:
    return [(each.check, each.verdict) for each in examine_channel(url)]


def test_a_socket_that_may_be_used_is_told_so(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/x.sock")
        assert verdicts(f"unix:{tmp_path}/x.sock?chardev=virtio") == [("channel", "ok"), ("holder", "ok")]


def test_who_holds_a_channel_is_named(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/x.sock")
        lock = ChannelLock(f"{tmp_path}/x.sock")
        lock.acquire()
        try:
            holder = list(examine_channel(f"unix:{tmp_path}/x.sock"))[1]
        finally:
            lock.release()
    assert holder.verdict == "fail"
    assert f"pid {os.getpid()}" in holder.message


def test_what_is_no_socket_or_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert verdicts(f"unix:{tmp_path}/file") == [("channel", "fail"), ("holder", "ok")]
    assert verdicts(f"unix:{tmp_path}/none") == [("channel", "fail")]
    assert verdicts(f"serial:{tmp_path}/file?baud=115200") == [("channel", "fail")]
    assert verdicts("uxin:/x") == [("channel", "fail")]


@pytest.mark.root
def test_a_socket_of_somebody_else_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    os.seteuid(65534)
    try:
        found = list(examine_channel(f"unix:{tmp_path}/x.sock"))
    finally:
        os.seteuid(0)
    assert found[0].verdict == "fail"
    assert "may not be looked into" in found[0].message


def test_channels_without_a_file_have_nothing_to_look_at() -> None:
    assert verdicts("exec:ssh web1 virtagentd --stdio") == []
    assert verdicts("vsock:3:7000") == []


def test_a_failed_connection_is_a_finding() -> None:
    found = not_connected(NobodyAnswers("nobody answers"))
    assert (found.check, found.verdict, found.message) == ("agent", "fail", "nobody answers")
    assert found.remedy
