"""The journal of a real systemd guest."""

from __future__ import annotations

import asyncio

import pytest

from tests.vm.conftest import Stopwatch
from tests.vm.harness import Machine
from tests.vm.talk import PATIENCE, PORT, connected, url_of
from virtagent import StreamReset
from virtagent.service.streams import TypedStream


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


async def test_a_followed_journal_brings_what_is_written_and_is_gone_on_with_after_a_restart_of_the_agent(
    systemd_guest: Machine, stopwatch: Stopwatch
) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        journal = line.guest.log.journal
        async with asyncio.timeout(PATIENCE):
            records = TypedStream.of(await journal(identifiers=["vmtest"], follow=True, lines=0))
            waiting = asyncio.ensure_future(anext(records))
            await line.guest.agent.ping()
            with stopwatch("logger to host"):
                await systemd_guest.shell("logger -t vmtest -p user.warning 'first words'")
                record = await waiting
        assert (record.message, record.level, record.identifier) == ("first words", 4, "vmtest")
        await systemd_guest.kill_agent("SIGTERM")
        with pytest.raises((StreamReset, ConnectionError)):
            await asyncio.wait_for(anext(records), PATIENCE)
        await systemd_guest.shell("logger -t vmtest meanwhile; systemctl start virtagentd.service")
        await line.next_session()
        again = [each.message async for each in await journal(identifiers=["vmtest"], after=record.cursor)]
        assert again == ["meanwhile"]
        # what read for a stream that has ended is gone
        assert "0" in (await systemd_guest.shell("pgrep -c journalctl || true")).split()
