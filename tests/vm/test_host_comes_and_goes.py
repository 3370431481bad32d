"""Hosts that come and go, in order or not, and what the guest's agent does while none is there."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from time import perf_counter

import pytest

import virtagent
from tests.vm.conftest import Stopwatch
from tests.vm.harness import Machine
from tests.vm.talk import CHANNELS, PORT, UART, connected, connected_to_both, url_of
from virtagent import ChannelBusy, NobodyAnswers, PeerState

UP_AGAIN = {PORT: 2.5, UART: 10.0}
"""Seconds: ten times what is seen, and what is wanted, on an idle machine."""

MOST_IDLE = 0.25
"""Share of a processor; a port that is polled in vain takes it whole."""


async def host_dies(url: str, manner: str) -> None:
    """Run a host process to its SIGKILL."""
    source = Path(__file__).with_name("doomed_host.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(source), url, manner, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(30):
            _, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == -signal.SIGKILL, complaint.decode()


@pytest.mark.parametrize("told", [False, True], ids=["plain socket", "chardev told"])
@pytest.mark.parametrize("manner", ["half-frame", "request", "reading"])
@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_new_host_is_up_soon_after_one_that_died(
    guest: Machine, channel: str, manner: str, told: bool, stopwatch: Stopwatch
) -> None:
    url = url_of(guest, channel, told=told)
    await host_dies(url, manner)
    began = perf_counter()
    with stopwatch(f"host died ({manner}): connect to up over {channel}{', chardev told' if told else ''}"):
        session = connected(url)
        line = await session.__aenter__()
    took = perf_counter() - began
    await line.answers()
    assert line.unseen_sessions == 0
    await session.__aexit__(None, None, None)
    # what the dead one left on its way through a UART takes the UART's time
    assert took < UP_AGAIN[channel]


@pytest.mark.parametrize("channel", CHANNELS)
async def test_twenty_hosts_one_after_the_other(guest: Machine, channel: str, stopwatch: Stopwatch) -> None:
    url = url_of(guest, channel)
    with stopwatch(f"20 hosts come, call and say goodbye over {channel}"):
        for number in range(20):
            async with connected(url) as line:
                assert await line.guest.call("probe.echo", value=number) == number


@pytest.mark.parametrize("channel", CHANNELS)
async def test_twenty_hosts_that_hang_up_do_not_keep_the_next_one_out(
    guest: Machine, channel: str, stopwatch: Stopwatch
) -> None:
    url = url_of(guest, channel)
    with stopwatch(f"20 hosts hang up without goodbye over {channel}"):
        for _ in range(20):
            _, writer = await asyncio.open_unix_connection(guest.socket(channel))
            writer.close()
            await writer.wait_closed()
        for _ in range(20):
            async with connected(url) as line:
                assert line.guest.channel is not None
                line.guest.channel.abort()
                await line.reaches(PeerState.NO_CHANNEL)
        async with connected(url) as line:
            await line.answers()


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_second_host_is_told_who_is_first_and_disturbs_nothing(guest: Machine, channel: str) -> None:
    url = url_of(guest, channel)
    async with connected(url) as first:
        with pytest.raises(ChannelBusy, match="is held by pid"):
            await virtagent.connect(url, timeout=5.0)
        # another program, which knows no lock, leaves its bytes behind: they reach the guest when the first one leaves
        _, writer = await asyncio.open_unix_connection(guest.socket(channel))
        writer.write(b"\xc1\x56\x00\x05 a ghost \x00\x00" + bytes(range(256)))
        await writer.drain()
        await first.answers()
        writer.close()
        await writer.wait_closed()
        await first.answers()
        assert first.unseen_sessions == 0
    async with connected(url) as next_one:
        await next_one.answers()


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_host_behind_another_program_is_told_and_its_ghost_does_no_harm(
    guest: Machine, channel: str, stopwatch: Stopwatch
) -> None:
    url = url_of(guest, channel)
    _, other = await asyncio.open_unix_connection(guest.socket(channel))
    with pytest.raises(NobodyAnswers, match="or another program on this machine holds the channel"):
        await virtagent.connect(url, timeout=0.5)
    other.close()
    await other.wait_closed()
    # the hellos of the one who gave up come first now
    with stopwatch(f"after our own ghost: connect to up over {channel}"):
        session = connected(url)
        line = await session.__aenter__()
    await line.answers()
    await session.__aexit__(None, None, None)


async def test_the_agent_does_not_spin_whoever_is_there(impatient_guest: Machine, stopwatch: Stopwatch) -> None:
    guest = impatient_guest

    async def load() -> float:
        """The agent's share of the guest's processor in two seconds."""
        spent = "sum(map(int, open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[11:13]))"
        source = f"""
pid = int(open('/run/agent.pid').read())
before, began = {spent}, time.monotonic()
time.sleep(2)
({spent} - before) / os.sysconf('SC_CLK_TCK') / (time.monotonic() - began)
"""
        return float(await guest.control(source))

    shares = {"no host yet": await load()}
    async with connected_to_both(guest) as lines:
        for line in lines:
            await line.answers()
        shares["both channels idle"] = await load()
    shares["hosts gone"] = await load()
    print("agent's share of the processor:", {what: f"{share:.1%}" for what, share in shares.items()})
    assert max(shares.values()) < MOST_IDLE, shares


async def test_a_host_that_reads_nothing_holds_the_guest_back_and_loses_nothing(
    guest: Machine, stopwatch: Stopwatch
) -> None:
    pieces = 1600  # 100 MiB
    resident = "int(open('/proc/%s/statm' % open('/run/agent.pid').read().strip()).read().split()[1]) * 4096"
    async with connected_to_both(guest) as (virtio, uart):
        await virtio.answers()
        before = await guest.control(resident)
        async with virtio.guest.stream("probe.flood", pieces=pieces) as stream:
            received = bytearray()
            async for chunk in stream:
                received += chunk
                break
            assert virtio.guest.channel is not None
            transport = virtio.guest.channel.transport
            assert transport is not None
            transport.pause_reading()
            async with asyncio.timeout(20):
                streamed, now = -1, 0
                while streamed != now:
                    streamed, now = now, await uart.guest.call("probe.streamed")
                    await asyncio.sleep(0.2)
            assert 0 < now < pieces // 10
            after = await guest.control(resident)
            print(f"held back after {now * 64} KiB; the agent grew by {(after - before) >> 10} KiB")
            assert after - before < 16 << 20
            with stopwatch("100 MiB streamed after the host read nothing for a while"):
                transport.resume_reading()
                size, expected = len(received), 0
                pending = bytes(received)
                async for chunk in stream:
                    size += len(chunk)
                    pending += chunk
                    while len(pending) >= 65536:
                        assert pending[:65536] == expected.to_bytes(4, "big") * 16384
                        pending, expected = pending[65536:], expected + 1
                assert (size, expected) == (pieces * 65536, pieces)


async def test_a_port_that_is_unplugged_and_plugged_in_again_is_served_again(
    impatient_guest: Machine, stopwatch: Stopwatch
) -> None:
    guest = impatient_guest
    async with connected(url_of(guest, PORT)) as line:
        run = await line.answers()
        await guest.execute("device_del", id=f"port-{PORT}")
        await line.reaches(PeerState.SILENT)
        with stopwatch("port plugged in again: until there is a new session"):
            await guest.execute(
                "device_add", driver="virtserialport", bus="vs0.0", chardev=f"chr-{PORT}", name=PORT, id=f"port-{PORT}"
            )
            await line.next_session()
        assert await line.answers() == run


async def test_the_agent_tells_of_itself(impatient_guest: Machine) -> None:
    async with connected_to_both(impatient_guest) as lines:
        for line in lines:
            async with asyncio.timeout(20):
                up = await line.events.ups.get()
                beats = [await line.events.heartbeats.get() for _ in range(2)]
            assert (up.reason, up.version) == ("boot", virtagent.__version__)
            assert beats[1].sequence == beats[0].sequence + 1
            assert 0.3 < beats[1].uptime - beats[0].uptime < 5
            assert beats[0].memory_available is not None
