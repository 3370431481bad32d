"""The journal of a real systemd guest."""

from __future__ import annotations

import asyncio

from tests.vm.conftest import Stopwatch
from tests.vm.harness import Machine
from tests.vm.talk import PATIENCE, PORT, connected, url_of


async def test_the_journal_of_a_unit_is_what_journalctl_shows(systemd_guest: Machine) -> None:
    shown = (await systemd_guest.shell("journalctl -b -u systemd-logind.service -o cat --no-pager")).splitlines()
    async with connected(url_of(systemd_guest, PORT)) as line:
        boot_id = (await line.guest.system.info()).boot_id.replace("-", "")
        found = [each async for each in await line.guest.log.journal(units=["systemd-logind.service"], boot=0)]
    told = [text for each in found for text in each.message.split("\n")]
    assert shown
    assert told[: len(shown)] == shown
    assert {each.boot_id for each in found} == {boot_id}
    assert all(each.time is not None and each.cursor for each in found)


async def test_a_followed_journal_brings_what_is_written_meanwhile(
    systemd_guest: Machine, stopwatch: Stopwatch
) -> None:
    async def write(number: int = 0) -> None:
        while True:  # the guest begins to follow at a moment of its own
            await systemd_guest.shell(f"logger -t vmtest -p user.warning 'words {number}'")
            number += 1
            await asyncio.sleep(0.5)

    async with connected(url_of(systemd_guest, PORT)) as line:
        journal = await line.guest.log.journal(identifiers=["vmtest"], follow=True, lines=0)
        with stopwatch("call until a first record of a followed journal"):
            writing = asyncio.create_task(write())
            try:
                record = await asyncio.wait_for(anext(journal), PATIENCE)
            finally:
                writing.cancel()
                await asyncio.wait([writing])
        assert record.message.startswith("words ")
        assert (record.level, record.identifier) == (4, "vmtest")
