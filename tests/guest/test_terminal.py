"""Processes with a pseudo-terminal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.guest.serving import LIMIT, gone, served
from virtagent.api.processes import Terminal
from virtagent.errors import FailedPrecondition, NotFound
from virtagent.host.guest import Guest
from virtagent.host.process import GuestProcess

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def guest(tmp_path: Path) -> AsyncIterator[Guest]:
    async with served(tmp_path) as made:
        yield made


async def until(process: GuestProcess, wanted: bytes) -> bytes:
    found = b""
    async with asyncio.timeout(LIMIT):
        while wanted not in found:
            chunk = await process.stdout.read()
            assert chunk, f"only {found!r} came"
            found += chunk
    return found


async def test_it_is_the_controlling_terminal_of_all_three(guest: Guest) -> None:
    line = "tty; tty <&1; tty <&2; tty </dev/tty >/dev/null && echo controlling; echo $TERM; stty size"
    done = await guest.processes.capture(shell=line, terminal=Terminal(columns=132, rows=43, type="vt100"))
    first, second, third, word, kind, size = done.stdout.decode().split("\r\n")[:-1]
    assert first == second == third
    assert first.startswith("/dev/pts/")
    assert (word, kind, size) == ("controlling", "vt100", "43 132")
    assert done.stderr == b""


async def test_a_resize_reaches_the_foreground_process(guest: Guest) -> None:
    line = "trap 'stty size' WINCH; echo go; while :; do sleep 0.01; done"
    async with guest.processes.run(shell=line, terminal=Terminal()) as process:
        await until(process, b"go\r\n")
        await process.resize(100, 30)
        await until(process, b"30 100\r\n")
        await process.signal("KILL")
        await process.wait()
        await process.resize(80, 24)  # too late, which is no error


async def test_a_process_without_a_terminal_is_not_resized(guest: Guest) -> None:
    async with guest.processes.run(["sleep", "600"]) as process:
        with pytest.raises(FailedPrecondition, match="has no terminal"):
            await process.resize(80, 24)
        with pytest.raises(NotFound, match="runs no process"):
            await guest.processes.resize(1, 80, 24)


async def test_ctrl_c_and_ctrl_d_are_typed_as_people_do(guest: Guest) -> None:
    async with guest.processes.run(["cat"], stdin=True, terminal=Terminal()) as process:
        await process.stdin.write(b"hello\n")
        await until(process, b"hello\r\nhello\r\n")
        await process.stdin.write(b"\x03")
        assert await process.wait() == -2
    async with guest.processes.run(["cat"], stdin=True, terminal=Terminal()) as process:
        await process.stdin.write(b"bye\n")
        process.stdin.close()
        assert await process.wait() == 0


async def test_a_shell_has_job_control(guest: Guest) -> None:
    async with guest.processes.run(["bash", "--norc", "-i"], stdin=True, terminal=Terminal()) as process:
        await process.stdin.write(b"sh -c 'echo rea\"\"dy; exec sleep 600'\n")
        await until(process, b"ready")
        await process.stdin.write(b"\x1a")
        await until(process, b"Stopped")


async def test_a_lost_terminal_hangs_up_the_shell_and_its_jobs(guest: Guest) -> None:
    async with guest.processes.run(
        ["bash", "--norc", "-i"], stdin=True, terminal=Terminal(), grace=0.5, env={"PS1": "> "}
    ) as process:
        await process.stdin.write(b'sleep 600 & echo pid=$! en""d\n')
        text = await until(process, b" end\r\n")
        background = int(text.rpartition(b"pid=")[2].split()[0])
    await gone(process.pid)
    await gone(background)


@pytest.mark.root
async def test_a_terminal_belongs_to_the_user(guest: Guest) -> None:
    line = "stat -c %U $(tty); id -un; echo again >/dev/tty; echo again >$(tty)"
    done = await guest.processes.capture(shell=line, terminal=Terminal(), user="daemon")
    assert done.stdout == b"daemon\r\ndaemon\r\nagain\r\nagain\r\n"


async def test_limits_umask_and_directory_hold_with_a_terminal_too(guest: Guest, tmp_path: Path) -> None:
    done = await guest.processes.capture(
        shell="ulimit -n; umask; pwd; exit 9",
        terminal=Terminal(),
        limits={"nofile": 99},
        umask=0o007,
        cwd=str(tmp_path),
    )
    assert done.stdout.decode() == f"99\r\n0007\r\n{tmp_path}\r\n"
    assert done.exited.code == 9
