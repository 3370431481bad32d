"""The advisory lock beside a socket: one holder, named; nothing stale; nothing removed under another's feet."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

import virtagent.peer.lock
from virtagent.errors import ChannelBusy, ChannelUnavailable
from virtagent.peer.connecting import Connecting, ConnectingPeer
from virtagent.peer.listening import Listening
from virtagent.peer.lock import ChannelLock
from virtagent.peer.options import PeerOptions
from virtagent_transports import ChannelFacts, unix

from .support import ECHO

REAL_TIME = True

HOLD = """
import sys
from virtagent.errors import ChannelBusy
from virtagent.peer.lock import ChannelLock
lock = ChannelLock(sys.argv[1])
try:
    lock.acquire()
except ChannelBusy as error:
    print("busy", error, flush=True)
    sys.exit(3)
print("held", flush=True)
if sys.stdin.readline() == "release\\n":
    lock.release()
    print("released", flush=True)
    sys.stdin.readline()
"""

COUNT = """
import sys, os
from virtagent.errors import ChannelBusy
from virtagent.peer.lock import ChannelLock
path, log = sys.argv[1:3]
got = 0
while got < 50:
    lock = ChannelLock(path)
    try:
        lock.acquire()
    except ChannelBusy:
        continue
    got += 1
    fd = os.open(log, os.O_CREAT | os.O_EXCL)  # fails if another is in here
    os.close(fd)
    os.unlink(log)
    lock.release()
"""


class Holder:
    """Another process that takes the lock."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path), "-f"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin
        assert self.process.stdout
        self.stdin: IO[str] = self.process.stdin
        self.stdout: IO[str] = self.process.stdout

    def line(self) -> str:
        return self.stdout.readline().rstrip("\n")

    def tell(self, line: str) -> None:
        self.stdin.write(line + "\n")
        self.stdin.flush()


@contextmanager
def holding(path: Path) -> Iterator[Holder]:
    holder = Holder(path)
    try:
        assert holder.line() == "held"
        yield holder
    finally:
        holder.process.kill()
        holder.process.communicate()


def test_one_holder_at_a_time_even_within_a_process(short_tmp: Path) -> None:
    first, second = ChannelLock(short_tmp / "s"), ChannelLock(short_tmp / "s")
    assert first.holder() is None
    first.acquire()
    first.acquire()
    assert first.held
    with pytest.raises(
        ChannelBusy, match=rf"held by pid {os.getpid()} \(this process\) since \d\d:\d\d; end it or wait"
    ):
        second.acquire()
    with pytest.raises(ChannelBusy):
        second.check()
    first.check()
    first.release()
    first.release()
    second.acquire()
    second.release()
    assert os.listdir(short_tmp) == []


def test_another_process_is_named_with_its_command(short_tmp: Path) -> None:
    with holding(short_tmp / "s") as holder:
        lock = ChannelLock(short_tmp / "s")
        assert lock.holder() is not None
        with pytest.raises(ChannelBusy) as caught:
            lock.acquire()
        assert caught.value.holder is not None
        assert caught.value.holder.startswith(f"pid {holder.process.pid} (-c {short_tmp}/s -f) since ")
        assert "\n" not in str(caught.value)
        holder.tell("release")
        assert holder.line() == "released"
        assert lock.holder() is None
        lock.acquire()
        lock.release()


def test_the_lock_of_a_process_that_was_killed_is_no_obstacle(short_tmp: Path) -> None:
    with holding(short_tmp / "s") as holder:
        holder.process.kill()
        holder.process.wait()
        assert (short_tmp / "s.lock").exists()
        lock = ChannelLock(short_tmp / "s")
        assert lock.holder() is None
        lock.acquire()
        assert lock.holder() is not None
        lock.release()


def test_the_file_is_private_and_no_link_is_followed(short_tmp: Path) -> None:
    lock = ChannelLock(short_tmp / "s")
    lock.acquire()
    assert stat.S_IMODE((short_tmp / "s.lock").stat().st_mode) == 0o600
    lock.release()
    (short_tmp / "precious").write_text("precious")
    (short_tmp / "s.lock").symlink_to(short_tmp / "precious")
    with pytest.raises(ChannelUnavailable, match="cannot be opened"):
        lock.acquire()
    assert lock.holder() is None
    assert (short_tmp / "precious").read_text() == "precious"
    (short_tmp / "s.lock").unlink()
    os.mkfifo(short_tmp / "s.lock")
    with pytest.raises(ChannelUnavailable, match="no plain file"):
        lock.acquire()


def test_what_another_program_wrote_is_shown_as_one_harmless_line(short_tmp: Path) -> None:
    import fcntl

    for content in (b"", b"\xff" * 5000, b"1\n2\n\x1b[31mred\x07" + b"x" * 5000, b"9" * 400 + b"\n1\nx\n"):
        (short_tmp / "s.lock").write_bytes(content)
        with open(short_tmp / "s.lock", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            holder = ChannelLock(short_tmp / "s").holder()
        assert holder is not None
        assert holder.isprintable()
        assert len(holder) < 200


def test_the_lock_moves_to_a_private_directory_where_the_sockets_is_not_writable(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_tmp / "run"))
    real = os.open

    def read_only(path: Any, flags: int, mode: int = 0o777, **rest: Any) -> int:
        if os.fspath(path) == f"{short_tmp}/s.lock" and flags & os.O_CREAT:  # root may write anywhere
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode, **rest)

    monkeypatch.setattr(os, "open", read_only)
    first, second = ChannelLock(short_tmp / "s"), ChannelLock(short_tmp / "s")
    first.acquire()
    directory = short_tmp / "run/virtagent/locks"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert len(os.listdir(directory)) == 1
    with pytest.raises(ChannelBusy):
        second.acquire()
    first.release()
    directory.chmod(0o777)
    with pytest.raises(ChannelUnavailable, match="mode 0700"):
        second.acquire()


def test_names_of_the_same_socket_have_the_same_lock(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (short_tmp / "real").mkdir()
    (short_tmp / "linked").symlink_to("real")
    (short_tmp / "real/link").symlink_to("s")
    monkeypatch.chdir(short_tmp)
    names = [
        short_tmp / "real/s",
        short_tmp / "linked/s",
        short_tmp / "linked/link",
        Path("real/s"),
        Path("real/../real/s"),
    ]
    for first in names:
        held = ChannelLock(first)
        held.acquire()
        for other in names:
            with pytest.raises(ChannelBusy, match=str(short_tmp / "real/s")):
                ChannelLock(other).check()
        held.release()
        ChannelLock(first).check()
    assert os.listdir(short_tmp / "real") == ["link"]


def test_a_lock_of_a_relative_path_stays_where_it_was(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(short_tmp)
    lock = ChannelLock("s")
    lock.acquire()
    monkeypatch.chdir("/")
    with pytest.raises(ChannelBusy):
        ChannelLock(short_tmp / "s").check()
    lock.release()
    assert os.listdir(short_tmp) == []


def test_without_a_runtime_directory_the_locks_are_in_tmp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert virtagent.peer.lock.private_directory() == f"/tmp/virtagent-{os.getuid()}"


def test_a_forked_child_neither_holds_nor_ends_the_lock(short_tmp: Path) -> None:
    lock = ChannelLock(short_tmp / "s")
    lock.acquire()
    pid = os.fork()
    if pid == 0:
        os._exit(1 if lock.held else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert ChannelLock(short_tmp / "s").holder() is not None
    lock.release()


def test_processes_that_race_for_the_lock_are_never_in_it_together(short_tmp: Path) -> None:
    command = [sys.executable, "-c", COUNT, str(short_tmp / "s"), str(short_tmp / "inside")]
    racers = [subprocess.Popen(command) for _ in range(3)]
    assert [racer.wait(50) for racer in racers] == [0, 0, 0]


# -- a connector takes it -----------------------------------------------------------------------------------------


async def test_a_connector_locks_an_exclusive_channel_until_it_closes(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H8's key ``exclusive``: the hello tells that a device is behind the socket."""
    made = unix._facts

    def exclusive(url: Any, *, connecting: bool) -> ChannelFacts:

        return made(url, connecting=connecting)._replace(exclusive=not connecting)

    monkeypatch.setattr(unix, "_facts", exclusive)
    url = f"unix:{short_tmp}/s"
    async with Listening(url, [ECHO]):
        first = await Connecting(lambda: ConnectingPeer(url, [], PeerOptions()))
        assert (short_tmp / "s.lock").exists()
        with pytest.raises(ChannelBusy, match=r"held by pid \d+ \(this process\)"):
            await Connecting(lambda: ConnectingPeer(url, [], PeerOptions()))
        assert first.channel is not None
        first.channel.abort()  # it comes back, and its own lock is no obstacle
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            assert await first.with_options(retry=True).call("echo", 1) == 1
        await first.aclose()
        assert not (short_tmp / "s.lock").exists()
        async with Connecting(lambda: ConnectingPeer(url, [], PeerOptions())) as again:
            assert await again.call("echo", 2) == 2


async def test_a_channel_that_serves_many_is_not_locked(short_tmp: Path) -> None:
    url = f"unix:{short_tmp}/s"
    async with Listening(url, [ECHO]), Connecting(lambda: ConnectingPeer(url, [], PeerOptions())):
        assert os.listdir(short_tmp) == ["s"]


async def test_another_programs_lock_is_told_before_connecting(short_tmp: Path) -> None:
    url = f"unix:{short_tmp}/s"
    async with Listening(url, [ECHO]) as listening:
        with (
            holding(short_tmp / "s") as holder,
            pytest.raises(ChannelBusy, match=f"held by pid {holder.process.pid}"),
        ):
            await Connecting(lambda: ConnectingPeer(url, [], PeerOptions()))
        assert not listening.peers
