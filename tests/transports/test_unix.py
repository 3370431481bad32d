"""Unix sockets: private from birth, never stolen, errors with a remedy."""

from __future__ import annotations

import asyncio
import fcntl
import grp
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from virtagent.errors import ChannelBusy, ChannelUnavailable, UrlError
from virtagent.testing.transports import StreamRecorder
from virtagent_transports import ChannelUrl, connect, listen, unix

from .support import lost


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_the_socket_is_private_whatever_the_umask(short_tmp: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        async with await listen(f"unix:{short_tmp}/s", StreamRecorder):
            assert mode_of(short_tmp / "s") == 0o600
    finally:
        os.umask(before)


async def test_the_socket_is_private_before_it_is_opened_to_others(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(unix, "_give_access", lambda url: seen.append(mode_of(Path(url.target))))
    before = os.umask(0)
    try:
        async with await listen(f"unix:{short_tmp}/s?mode=0666", StreamRecorder):
            assert seen == [0o600]
    finally:
        os.umask(before)


async def test_mode_and_group_are_as_asked(short_tmp: Path) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    async with await listen(f"unix:{short_tmp}/s?mode=0660&group={group}", StreamRecorder):
        assert mode_of(short_tmp / "s") == 0o660
        assert (short_tmp / "s").stat().st_gid == os.getgid()


async def test_an_unknown_group_leaves_no_socket_behind(short_tmp: Path) -> None:
    with pytest.raises(UrlError, match="there is no group 'nosuchgroup'"):
        await listen(f"unix:{short_tmp}/s?group=nosuchgroup", StreamRecorder)
    assert not os.listdir(short_tmp)


async def test_a_dead_servers_socket_is_replaced_and_a_live_one_is_not(short_tmp: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{short_tmp}/s")
        dead.listen()
    async with await listen(f"unix:{short_tmp}/s", StreamRecorder):
        with pytest.raises(ChannelBusy, match="a server already listens there"):
            await listen(f"unix:{short_tmp}/s", StreamRecorder)
        transport, protocol = await connect(f"unix:{short_tmp}/s", StreamRecorder)
        transport.close()
        await lost(protocol)
    assert not os.listdir(short_tmp)


async def test_of_servers_that_start_together_over_a_dead_socket_exactly_one_lives(short_tmp: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{short_tmp}/s")
    program = (
        "import asyncio, sys\n"
        "from virtagent.errors import ChannelBusy\n"
        "from virtagent_transports import listen\n"
        "async def main():\n"
        "    sys.stdin.readline()\n"
        "    try:\n"
        f"        await listen('unix:{short_tmp}/s', lambda facts: asyncio.Protocol())\n"
        "    except ChannelBusy:\n"
        "        print('busy', flush=True)\n"
        "    else:\n"
        "        print('mine', flush=True)\n"
        "        sys.stdin.readline()\n"
        "asyncio.run(main())\n"
    )
    servers = [
        subprocess.Popen(  # noqa: ASYNC220 - they only start
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": ":".join(sys.path)},
        )
        for _ in range(4)
    ]
    for server in servers:
        assert server.stdin is not None
        server.stdin.write("go\n")
        server.stdin.flush()
    said = [server.stdout.readline().strip() for server in servers if server.stdout]
    for server in servers:
        server.communicate("stop\n")
    assert sorted(said) == ["busy", "busy", "busy", "mine"]


async def test_closing_leaves_another_servers_socket_alone(short_tmp: Path) -> None:
    listener = await listen(f"unix:{short_tmp}/s", StreamRecorder)
    (short_tmp / "s").unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"{short_tmp}/s")
        listener.close()
        await listener.wait_closed()
        assert (short_tmp / "s").is_socket()


async def test_a_file_that_is_no_socket_is_never_removed(short_tmp: Path) -> None:
    (short_tmp / "s").write_text("precious")
    with pytest.raises(ChannelUnavailable, match="no socket; move it away"):
        await listen(f"unix:{short_tmp}/s", StreamRecorder)
    assert (short_tmp / "s").read_text() == "precious"


async def test_a_directory_that_stays_locked_is_reported(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unix, "LOCK_TRIES", 2)
    fd = os.open(short_tmp, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with pytest.raises(ChannelBusy, match="lslocks"):
            await listen(f"unix:{short_tmp}/s", StreamRecorder)
    finally:
        os.close(fd)


async def test_a_missing_directory_and_a_taken_abstract_name_are_reported(short_tmp: Path) -> None:
    with pytest.raises(ChannelUnavailable, match=f"there is no directory {short_tmp}/none; create it"):
        await listen(f"unix:{short_tmp}/none/s", StreamRecorder)
    async with await listen(f"unix:@virtagent-{os.getpid()}", StreamRecorder) as listener:
        with pytest.raises(ChannelBusy, match="choose another name"):
            await listen(listener.url, StreamRecorder)


async def test_a_missing_and_a_dead_socket_are_told_apart(short_tmp: Path) -> None:
    with pytest.raises(ChannelUnavailable, match="there is no such socket; start the server"):
        await connect(f"unix:{short_tmp}/s", StreamRecorder)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{short_tmp}/s")
    with pytest.raises(ChannelUnavailable, match="nobody listens there"):
        await connect(f"unix:{short_tmp}/s", StreamRecorder)


async def test_a_full_backlog_is_busy_and_not_a_success_that_fails_later(short_tmp: Path) -> None:
    """asyncio takes EAGAIN for "in progress" and reports a connection that is none."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short_tmp}/s")
        server.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(f"{short_tmp}/s")
            with pytest.raises(ChannelBusy, match="another program holds the channel"):
                await connect(f"unix:{short_tmp}/s", StreamRecorder)


async def test_a_backlog_that_is_full_for_a_moment_is_waited_for(short_tmp: Path) -> None:
    """Clients of a QEMU chardev that hang up at once fill it."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short_tmp}/s")
        server.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(f"{short_tmp}/s")
        connecting = asyncio.ensure_future(connect(f"unix:{short_tmp}/s", StreamRecorder))
        await asyncio.sleep(0)
        assert not connecting.done()
        server.accept()[0].close()
        transport, protocol = await connecting
        server.accept()[0].close()
        await lost(protocol)
        transport.close()


def test_no_permission_names_the_group_to_join(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = short_tmp / "s"
    path.touch()
    path.chmod(0o660)
    info = path.stat()
    group = grp.getgrall()[-1]
    fields = list(info)
    fields[5] = group.gr_gid
    monkeypatch.setattr(os, "stat", lambda *_a, **_k: os.stat_result(fields))
    error = unix._refusal(ChannelUrl.parse(f"unix:{path}"), PermissionError(13, "Permission denied"))
    assert f"join the group (usermod -aG {group.gr_name} USER" in str(error)
    assert f":{group.gr_name}, mode 0660" in str(error)


async def test_a_qemu_chardev_is_told_by_its_option(short_tmp: Path) -> None:
    async with await listen(f"unix:{short_tmp}/s", StreamRecorder):
        for kind, lossless in (("virtio", True), ("serial", False)):
            transport, protocol = await connect(f"unix:{short_tmp}/s?chardev={kind}", StreamRecorder)
            assert isinstance(protocol, StreamRecorder)
            facts = protocol.facts
            assert (facts.lossless, facts.stale, facts.tells_disconnect, facts.exclusive) == (
                lossless,
                True,
                False,
                True,
            )
            transport.close()
            await lost(protocol)


async def test_cancelling_listen_while_it_waits_for_the_lock_leaves_nothing(short_tmp: Path) -> None:
    fd = os.open(short_tmp, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        task = asyncio.ensure_future(listen(f"unix:{short_tmp}/s", StreamRecorder))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        os.close(fd)
    assert not os.listdir(short_tmp)
