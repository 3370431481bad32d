"""The package's front door: light to import, open for third parties."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import virtagent_transports
from virtagent.errors import UrlError
from virtagent.testing.transports import StreamRecorder, url_pair
from virtagent_transports import ChannelUrl, can_listen, connect, listen, peer_credentials, registry, schemes

from .support import FACTS, lost, received


def test_all_is_sorted_and_complete() -> None:
    assert virtagent_transports.__all__ == sorted(virtagent_transports.__all__)
    assert all(hasattr(virtagent_transports, name) for name in virtagent_transports.__all__)


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import virtagent_transports", "asyncio ssl serial serial_asyncio importlib.metadata subprocess ctypes"),
        ("import virtagent_transports as t; t.ChannelUrl.parse('unix:/x')", "serial_asyncio importlib.metadata ctypes"),
        (
            "import virtagent_transports as t; t.ChannelUrl.parse('virtio:x')",
            "serial serial_asyncio importlib.metadata",
        ),
    ],
)
def test_only_the_scheme_in_use_is_imported(code: str, absent: str) -> None:
    program = f"{code}\nimport sys\nprint(*[name for name in {absent.split()!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.split() == []


def test_devices_and_commands_cannot_listen() -> None:
    able = {text: can_listen(text) for text in ("unix:/x", "tcp:127.0.0.1:0", "tls:h:1", "vsock:any:1")}
    assert all(able.values()), able
    unable = {text: can_listen(text) for text in ("serial:/dev/x", "virtio:x", "stdio:", "exec:cat")}
    assert not any(unable.values()), unable


async def test_listening_where_nothing_can_listen_says_what_to_do() -> None:
    with pytest.raises(UrlError, match="connect to it, and again after each session"):
        await listen("exec:cat", StreamRecorder)


def test_every_built_in_scheme_is_known_and_is_also_an_entry_point() -> None:
    assert set(schemes()) >= {"exec", "serial", "stdio", "tcp", "tls", "unix", "virtio", "vsock"}


async def test_a_third_party_scheme_is_found_through_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ChannelUrl] = []

    async def dial(url: ChannelUrl, protocol_factory: Any) -> Any:
        seen.append(url)
        return None, protocol_factory(FACTS)

    point = SimpleNamespace(name="pigeon", load=lambda: SimpleNamespace(OPTIONS={"speed"}, connect=dial))
    monkeypatch.setattr(registry, "_entry_points", lambda: [point])
    monkeypatch.setattr(registry, "_loaded", {})
    assert "pigeon" in schemes()
    _, protocol = await connect("pigeon:north?speed=3", StreamRecorder)
    assert isinstance(protocol, StreamRecorder)
    assert [(url.target, url.options) for url in seen] == [("north", {"speed": "3"})]
    with pytest.raises(UrlError, match="known here: speed"):
        ChannelUrl.parse("pigeon:north?colour=grey")


async def test_a_unix_sockets_peer_is_known_and_a_tcp_peer_is_not(short_tmp: Path) -> None:
    for url, expected in ((f"unix:{short_tmp}/s", (os.getpid(), os.getuid(), os.getgid())), ("tcp:127.0.0.1:0", None)):
        near, a, far, b = await url_pair(url)(StreamRecorder, StreamRecorder)
        for end in (near, far):
            found = peer_credentials(end)
            assert (found and (found.pid, found.uid, found.gid)) == expected
        near.close()
        await lost(a)
        await lost(b)


async def test_a_listeners_connections_outlive_it(short_tmp: Path) -> None:
    near, a, _, b = await url_pair(f"unix:{short_tmp}/s")(StreamRecorder, StreamRecorder)  # its listener is closed
    near.write(b"after")
    await received(b, b"after")
    assert isinstance(a, StreamRecorder)
    assert isinstance(b, StreamRecorder)
    assert (b.facts.connecting, a.facts.connecting) == (False, True)
    near.close()
    await lost(b)
    with socket.socket(socket.AF_UNIX) as probe:
        assert probe.connect_ex(f"{short_tmp}/s") != 0


async def test_a_listener_can_be_closed_twice(short_tmp: Path) -> None:
    listener = await listen(f"unix:{short_tmp}/s", StreamRecorder)
    listener.close()
    listener.close()
    await listener.wait_closed()
