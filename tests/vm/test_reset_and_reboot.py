"""A guest that is reset, rebooted, powered off, or whose agent dies: the host is told, and the next session comes by
itself."""

from __future__ import annotations

import asyncio

import pytest

from tests.vm.conftest import MachineFactory, Stopwatch
from tests.vm.harness import Image, Machine
from tests.vm.talk import AGENT, PORT, UART, Line, connected, connected_to_both, url_of
from virtagent import DeadlineExceeded, PeerGone, PeerState, SessionLost

NOTICED = 10.0
"""Seconds in which silence is noticed; it takes 1.5."""


async def test_a_reset_guest_is_silent_then_back_and_no_old_answer_is_taken_for_a_new_one(
    impatient_guest: Machine, stopwatch: Stopwatch
) -> None:
    guest = impatient_guest
    async with connected_to_both(guest) as lines:
        before = [await line.guest.call("probe.who") for line in lines]
        patient = [await line.begin("probe.hold", "patient") for line in lines]
        # these answers were due soon after the reset: from the old boot none may ever come
        due = [await line.begin("probe.after", "due", seconds=0.3) for line in lines]
        hasty = [await line.begin("probe.hold", "hasty", deadline=1.0) for line in lines]
        await guest.reset()
        with stopwatch("reset: until both channels are silent"):
            await asyncio.gather(*(line.reaches(PeerState.SILENT, NOTICED) for line in lines))
        for call in hasty:
            with pytest.raises(DeadlineExceeded) as late:
                await call
            assert late.value.may_have_run
        assert not any(call.done() for call in (*patient, *due))
        # requests made now wait here for the next session
        waiting = [asyncio.create_task(line.guest.call("probe.count")) for line in lines]
        with stopwatch("reset: until both channels have a new session"):
            await asyncio.gather(*(line.next_session() for line in lines))
        for call in (*patient, *due):
            with pytest.raises(SessionLost) as lost:
                await call
            assert not isinstance(lost.value, PeerGone)
            assert lost.value.may_have_run
        assert sorted([await call for call in waiting]) == [1, 2]  # a new process counts anew
        after = [await line.guest.call("probe.who") for line in lines]
        for old, new in zip(before, after, strict=True):
            assert (old["boot"], old["run"]) != (new["boot"], new["run"])
        assert after[0] == after[1]
        for line in lines:
            await line.answers()
            assert line.unseen_sessions == 0


async def test_an_orderly_reboot_says_goodbye_first_and_the_next_session_comes_by_itself(
    guest: Machine, stopwatch: Stopwatch
) -> None:
    async with connected_to_both(guest) as lines:
        before = (await lines[0].guest.system.info()).boot_id
        held = [await line.begin("probe.hold", "in flight") for line in lines]
        with stopwatch("orderly reboot: until calls in flight have failed"):
            guest.tell("os.system('reboot')")
            for call in held:
                with pytest.raises(PeerGone) as gone:
                    await asyncio.wait_for(call, 20)
                assert gone.value.reason == "reboot"
        for line in lines:
            assert line.guest.state is PeerState.GONE
            assert "reboot" in line.guest.detail
            assert (await asyncio.wait_for(line.events.downs.get(), 5)).reason == "reboot"
            # what came up with the first session, or is still on its way, is not of interest
            while not line.events.ups.empty():
                line.events.ups.get_nowait()
        with stopwatch("orderly reboot: until both channels have a new session"):
            await asyncio.gather(*(line.next_session() for line in lines))
        for line in lines:
            up = await asyncio.wait_for(line.events.ups.get(), 10)
            assert up.reason == "boot"
            assert up.boot_id == (await line.guest.system.info()).boot_id != before
            await line.answers()


async def test_powering_off_says_goodbye_with_its_reason(guest: Machine, stopwatch: Stopwatch) -> None:
    async with connected_to_both(guest) as lines:
        for line in lines:
            await line.answers()  # the guest's side of both sessions is up, too: else it has nobody to say goodbye to
        with stopwatch("power button: until both channels have said goodbye"):
            await guest.powerdown()
            await asyncio.gather(*(line.reaches(PeerState.GONE) for line in lines))

        async def is_refused(line: Line) -> None:
            assert (await line.events.downs.get()).reason == "shutdown"
            with pytest.raises(DeadlineExceeded, match="shuts down") as refused:
                await line.guest.with_options(deadline=0.05).call("probe.who")
            assert not refused.value.may_have_run

        await asyncio.gather(*map(is_refused, lines))  # at once: QEMU goes soon, and says something else then
        assert await guest.exited() == 0
        # the sockets are gone with QEMU: that is another state than a guest that is silent
        await asyncio.gather(*(line.reaches(PeerState.NO_CHANNEL) for line in lines))


async def test_a_killed_agent_is_back_in_a_new_session_by_itself(
    impatient_guest: Machine, stopwatch: Stopwatch
) -> None:
    guest = impatient_guest
    async with connected_to_both(guest) as lines:
        before = [await line.answers() for line in lines]
        held = [await line.begin("probe.hold", "in flight") for line in lines]
        with stopwatch("agent killed: until both channels have a new session"):
            await guest.kill_agent()
            await asyncio.gather(*(line.next_session() for line in lines))
        for call in held:
            with pytest.raises(SessionLost) as lost:
                await call
            assert lost.value.may_have_run
        for line, run in zip(lines, before, strict=True):
            assert await line.answers() != run
            ups = [await asyncio.wait_for(line.events.ups.get(), 5) for _ in range(2)]
            assert ups[1].reason == "restart"


async def test_a_stopped_agent_says_so(guest: Machine, stopwatch: Stopwatch) -> None:
    async with connected_to_both(guest) as lines:
        for line in lines:
            await line.answers()
        with stopwatch("agent stopped: until both channels have said goodbye"):
            await guest.kill_agent("SIGTERM")
            await asyncio.gather(*(line.reaches(PeerState.GONE) for line in lines))
        for line in lines:
            assert (await line.events.downs.get()).reason == "stop"
        with stopwatch("agent stopped: until it is back in a new session on both channels"):
            await asyncio.gather(*(line.next_session() for line in lines))
        for line in lines:
            await line.answers()


@pytest.mark.parametrize("channel", [PORT, UART])
async def test_a_host_that_connects_at_power_on_is_up_once_the_agent_is(
    machine_factory: MachineFactory, agent_image: Image, channel: str, stopwatch: Stopwatch
) -> None:
    # all that was sent while nobody had the device open is delivered to the agent when it comes
    guest = await machine_factory(cold=True, image=agent_image, ports=(PORT,), agent=None)
    waiting = connected(url_of(guest, channel))
    connect = asyncio.create_task(waiting.__aenter__())
    await asyncio.sleep(1.0)  # hellos pile up
    assert not connect.done()
    try:
        with stopwatch(f"host was there first: agent's start to session over {channel}"):
            await guest.control(f"import subprocess; agent = subprocess.Popen({AGENT!r}.split()); None")
            line = await connect
        await line.answers()
        assert (await asyncio.wait_for(line.events.ups.get(), 5)).reason == "boot"
    finally:
        await waiting.__aexit__(None, None, None)
