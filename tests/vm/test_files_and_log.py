"""Files and kernel log that a host reads are those which the guest itself sees."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from tests.vm.conftest import MachineFactory, Stopwatch
from tests.vm.harness import Image, Machine, blob_digest
from tests.vm.talk import AGENT, PORT, UART, Line, connected, connected_to_both, url_of
from virtagent import NotFound

BLOB_SIZE = 64
"""MiB."""


async def read(line: Line, path: str, length: int | None = None) -> bytes:
    return b"".join([piece async for piece in line.guest.files.read(path, length=length)])


async def test_proc_files_are_what_the_guests_shell_shows(guest: Machine) -> None:
    async with connected_to_both(guest) as lines:
        for path in ("/proc/version", "/proc/cmdline", "/proc/cpuinfo", "/proc/modules"):
            shown = (await guest.shell(f"cat {path}")).encode()
            for line in lines:
                assert await read(line, path) == shown, path
        total = await guest.shell("grep MemTotal /proc/meminfo")
        for line in lines:
            meminfo = (await read(line, "/proc/meminfo")).decode()
            assert total in meminfo
            assert len(meminfo.splitlines()) == len((await guest.shell("cat /proc/meminfo")).splitlines())


async def test_system_info_is_what_the_guests_shell_shows(guest: Machine) -> None:
    async with connected(url_of(guest, PORT)) as line:
        info = await line.guest.system.info()
    assert f"{info.kernel.release}\n" == await guest.shell("uname -r")
    assert f"{info.boot_id}\n" == await guest.shell("cat /proc/sys/kernel/random/boot_id")
    total = int((await guest.shell("grep MemTotal /proc/meminfo")).split()[1])
    assert info.memory == total * 1024
    assert info.hostname == "guest"
    assert info.os.pretty_name == "virtagent test guest"


async def test_the_kernel_log_is_what_dmesg_shows(guest: Machine, stopwatch: Stopwatch) -> None:
    async with connected_to_both(guest) as lines:
        shown = await guest.shell("dmesg -r")
        # dmesg prints a record of several lines with its prefix on each
        told = [line.partition("] ")[2] for line in shown.splitlines()]
        for line, name in zip(lines, (PORT, UART), strict=True):
            with stopwatch(f"{len(told)} lines of kernel log over {name}"):
                records = [record async for record in line.guest.log.kernel()]
            messages = [text for record in records for text in record.message.split("\n")]
            assert [text.rstrip() for text in messages][: len(told)] == [text.rstrip() for text in told]
            assert [record.sequence for record in records] == sorted(record.sequence for record in records)
            first = f"[{records[0].timestamp:12.6f}]"
            assert first in shown


async def test_a_followed_kernel_log_brings_new_records_as_they_come(guest: Machine, stopwatch: Stopwatch) -> None:
    async with connected_to_both(guest) as (virtio, uart):
        uptime = (await virtio.guest.system.info()).uptime
        for line, name in ((virtio, PORT), (uart, UART)):
            async with asyncio.timeout(30), line.guest.log.kernel(follow=True, since=uptime) as records:  # type: ignore[attr-defined]
                with stopwatch(f"/dev/kmsg to host over {name}"):
                    await guest.shell(f"echo '<4>written for {name}' >/dev/kmsg")
                    async for record in records:
                        if record.message == f"written for {name}":
                            break
                assert (record.level, record.facility) == (4, 1)


async def test_a_file_that_is_not_there_is_not_found(guest: Machine) -> None:
    async with connected(url_of(guest, UART)) as line:
        with pytest.raises(NotFound, match="/etc/nothing"):
            await read(line, "/etc/nothing")


async def test_large_files_arrive_unharmed_over_both_channels_at_once(
    machine_factory: MachineFactory, agent_image: Image, stopwatch: Stopwatch
) -> None:
    guest = await machine_factory(
        cold=True, image=agent_image, ports=(PORT,), agent=AGENT, blob=("/tmp/blob", BLOB_SIZE)
    )

    async def digest(line: Line, name: str, size: int | None) -> str:
        with stopwatch(f"{BLOB_SIZE if size is None else size >> 20} MiB file over {name}, both channels at once"):
            hashed = hashlib.sha256()
            async for piece in line.guest.files.read("/tmp/blob", length=size):
                hashed.update(piece)
        return hashed.hexdigest()

    async with connected_to_both(guest) as (virtio, uart):
        whole, part = await asyncio.gather(digest(virtio, PORT, None), digest(uart, UART, 1 << 20))
        assert whole == blob_digest(BLOB_SIZE)
        assert part == blob_digest(1)
