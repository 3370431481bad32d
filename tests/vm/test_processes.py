"""Programs and jobs of a real guest, over virtio-serial and a UART."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest

from tests.vm.harness import Machine
from tests.vm.talk import PATIENCE, PORT, UART, Line, connected, connected_to_both, url_of
from virtagent import NotFound
from virtagent.api.processes import Terminal


async def test_programs_run_over_both_channels(guest: Machine) -> None:
    async with connected_to_both(guest) as lines:
        for line in lines:
            done = await line.guest.processes.capture(shell="uname -r; cat; exit 3", input=b"given\n")
            assert done.stdout.decode() == f"{await guest.shell('uname -r')}given\n"
            assert done.returncode == 3
            with pytest.raises(NotFound, match="no such program"):
                await line.guest.processes.capture(["no-such-program"])


async def test_streams_go_both_ways_unharmed_over_both_channels_at_once(guest: Machine) -> None:
    async def there_and_back(line: Line, size: int) -> None:
        data = hashlib.shake_128(str(size).encode()).digest(size)
        async with line.guest.processes.run(["cat"], stdin=data) as process:
            back = await process.stdout.read_all()
        assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()

    async with asyncio.timeout(PATIENCE), connected_to_both(guest) as (virtio, uart):
        await asyncio.gather(there_and_back(virtio, 8 << 20), there_and_back(uart, 200_000))


async def test_a_host_that_leaves_takes_its_processes_with_it_and_not_its_jobs(guest: Machine) -> None:
    async with connected(url_of(guest, PORT)) as line:
        process = await line.guest.processes.run(shell="sleep 6000 & echo $!; wait").__aenter__()
        grandchild = int(await process.stdout.read())
        job = await line.guest.jobs.start(shell="echo begun; read line; echo $line", stdin=True)
        assert (await guest.shell(f"kill -0 {process.pid} {grandchild} && echo both")) == "both\n"
    async with connected(url_of(guest, UART)) as line:
        alive = f"kill -0 {process.pid} 2>/dev/null || kill -0 {grandchild} 2>/dev/null"
        gone = f"while {alive}; do sleep 0.1; done; echo gone"
        assert await guest.shell(gone) == "gone\n"
        (found,) = await line.guest.jobs.list()
        assert (found.job, found.state, found.written) == (job.job, "running", 6)

        async def answer() -> AsyncIterator[bytes]:
            yield b"answered\n"

        await line.guest.jobs.write(job.job, answer(), close=True)
        pieces = [piece async for piece in line.guest.jobs.output(job.job, offset=6)]
        assert b"".join(piece.stdout for piece in pieces) == b"answered\n"
        assert pieces[-1].exited is not None
        assert pieces[-1].exited.code == 0


async def test_a_terminal_in_the_guest_is_used_from_the_host(guest: Machine) -> None:
    await guest.shell("mkdir -p /dev/pts; mountpoint -q /dev/pts || mount -t devpts devpts /dev/pts")
    async with asyncio.timeout(PATIENCE), connected(url_of(guest, PORT)) as line:
        terminal = Terminal(columns=101, rows=33)
        async with line.guest.processes.run(["sh", "-i"], stdin=True, terminal=terminal) as process:
            await process.stdin.write(b"stty size; exit 4\n")
            assert b"33 101\r\n" in await process.stdout.read_all()
            assert await process.wait() == 4


async def test_what_runs_is_what_the_guests_shell_shows(guest: Machine) -> None:
    async with connected(url_of(guest, PORT)) as line:
        found = {each.pid: each async for each in line.guest.processes.list()}
        assert found[1].ppid == 0
        agent = (await line.guest.agent.ping()).pid
        assert agent is not None
        arguments = found[agent].arguments
        assert arguments is not None
        shown = await guest.shell(f"tr '\\0' '\\n' </proc/{agent}/cmdline")
        assert shown.splitlines() == arguments
        kernel = next(each for each in found.values() if each.name == "kthreadd")
        assert kernel.arguments is None
