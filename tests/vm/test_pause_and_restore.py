"""A guest that is paused, taken back to a snapshot, or moved to a file and back while a host talks to it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.vm.conftest import Stopwatch
from tests.vm.harness import Machine
from tests.vm.talk import PORT, UART, connected, connected_to_both, url_of
from virtagent import PeerState, SessionLost


async def test_a_paused_guest_is_silent_and_nothing_is_lost(impatient_guest: Machine, stopwatch: Stopwatch) -> None:
    guest = impatient_guest
    async with connected_to_both(guest) as lines:
        under_way = [await line.begin("probe.after", "slow", seconds=3.0) for line in lines]
        await guest.pause()
        with stopwatch("pause: until both channels are silent"):
            await asyncio.gather(*(line.reaches(PeerState.SILENT) for line in lines))
        waiting = [asyncio.create_task(line.guest.call("probe.count")) for line in lines]
        await asyncio.sleep(0.1)
        for line in lines:
            assert "paused" in line.guest.detail
            assert line.guest.statistics()["calls"] == 1  # the new one waits here and was not sent
        with stopwatch("pause: from resume until both channels are up"):
            await guest.resume()
            await asyncio.gather(*(line.reaches(PeerState.UP) for line in lines))
        assert [await call for call in under_way] == ["slow", "slow"]
        assert sorted([await call for call in waiting]) == [1, 2]
        for line in lines:
            await line.answers()
            assert line.unseen_sessions == 0  # it is the same session
            assert line.guest.statistics()["noise"] == 0


async def test_a_guest_taken_back_in_time_begins_a_new_session(impatient_guest: Machine, stopwatch: Stopwatch) -> None:
    guest = impatient_guest
    async with connected_to_both(guest) as lines:
        await lines[0].guest.call("probe.count")
        await guest.savevm("then")
        assert await lines[0].guest.call("probe.count") == 2
        held = [await line.begin("probe.hold", "in flight") for line in lines]
        with stopwatch("loadvm: until both channels have a new session"):
            await guest.loadvm("then")
            await asyncio.gather(*(line.next_session() for line in lines))
        for call in held:
            with pytest.raises(SessionLost) as lost:
                await call
            assert lost.value.may_have_run
        assert await lines[0].guest.call("probe.count") == 2  # once more: the guest forgot
        for line in lines:
            await line.answers()


async def test_a_guest_taken_back_into_another_hosts_session_finds_the_present_host(
    impatient_guest: Machine, stopwatch: Stopwatch
) -> None:
    guest = impatient_guest
    async with connected_to_both(guest) as lines:
        for line in lines:
            await line.answers()
        await guest.savevm("then")
    async with connected_to_both(guest) as lines:
        held = [await line.begin("probe.hold", "in flight") for line in lines]
        with stopwatch("loadvm into another host's session: until both channels have a new one"):
            await guest.loadvm("then")
            await asyncio.gather(*(line.next_session() for line in lines))
        for call in held:
            with pytest.raises(SessionLost):
                await call
        for line in lines:
            await line.answers()


async def test_a_guest_saved_to_a_file_and_restored_is_followed(
    impatient_guest: Machine, tmp_path: Path, stopwatch: Stopwatch
) -> None:
    """The sockets have names that stay, as a manager of guests gives them: they lead to whichever QEMU runs now."""
    lasting = {channel: tmp_path / f"{channel}.sock" for channel in (PORT, UART)}

    def lead_to(machine: Machine) -> None:
        for channel, path in lasting.items():
            path.unlink(missing_ok=True)
            path.symlink_to(machine.socket(channel))

    lead_to(impatient_guest)
    async with connected(f"unix:{lasting[PORT]}") as virtio, connected(f"unix:{lasting[UART]}") as uart:
        lines = (virtio, uart)
        runs = [await line.answers() for line in lines]
        held = [await line.begin("probe.hold", "in flight") for line in lines]
        snapshot = await impatient_guest.migrate_to_file(tmp_path / "guest")
        await impatient_guest.stop()
        for call in held:
            with pytest.raises(SessionLost) as lost:
                await call
            assert lost.value.may_have_run
        async with Machine.incoming(snapshot) as restored:
            await restored.booted()
            with stopwatch("restored from a file: until both channels have a new session"):
                lead_to(restored)
                await asyncio.gather(*(line.next_session() for line in lines))
            assert [await line.answers() for line in lines] == runs  # the same process, in another session
            for line in lines:
                ups = [await asyncio.wait_for(line.events.ups.get(), 5) for _ in range(2)]
                assert ups[0].boot_id == ups[1].boot_id
                assert ups[0].agent_uptime is not None
                assert ups[1].agent_uptime is not None
                assert ups[0].agent_uptime < ups[1].agent_uptime
    snapshot.path.unlink()  # pytest would keep its hundred MiB for three runs


async def test_a_clone_restored_twice_serves_each_host(
    impatient_guest: Machine, tmp_path: Path, stopwatch: Stopwatch
) -> None:
    """Both clones draw their tags from a random state that was copied."""
    snapshot = await impatient_guest.migrate_to_file(tmp_path / "guest")
    await impatient_guest.stop()
    for _ in range(2):
        async with Machine.incoming(snapshot) as clone:
            await clone.booted()
            with stopwatch("clone: connect over virtio"):
                lines = connected(url_of(clone, PORT))
                line = await lines.__aenter__()
            await line.answers()
            await lines.__aexit__(None, None, None)
    snapshot.path.unlink()
