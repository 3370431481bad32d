"""Calls between a host and a real guest, both ways, over virtio-serial and an emulated UART at once."""

from __future__ import annotations

import asyncio

import pytest

from tests.vm.conftest import Stopwatch
from tests.vm.harness import Machine
from tests.vm.talk import PORT, UART, Line, connected, connected_to_both, url_of
from virtagent import DeadlineExceeded, InvalidArgument, MethodNotFound


@pytest.mark.parametrize("told", [False, True], ids=["plain socket", "chardev told"])
async def test_both_sides_call_over_both_channels_at_once(guest: Machine, told: bool, stopwatch: Stopwatch) -> None:
    with stopwatch(f"connect to both channels of a restored guest ({'chardev told' if told else 'plain socket'})"):
        lines = connected_to_both(guest, told=told)
        virtio, uart = await lines.__aenter__()
    try:

        async def talk(line: Line, count: int) -> None:
            async def ask(number: int) -> None:
                assert await line.guest.call("probe.echo", value=number) == number
                relayed = line.guest.call("probe.relay", method="desk.double", params={"number": number})
                assert await relayed == 2 * number

            await asyncio.gather(*(ask(number) for number in range(count)))

        with stopwatch("600 calls over virtio and 60 over the UART at once, half of them calling back"):
            await asyncio.gather(talk(virtio, 300), talk(uart, 30))
        assert await virtio.answers() == await uart.answers()  # one agent serves both
        for line in (virtio, uart):
            statistics = line.guest.statistics()
            troubles = ("noise", "bad_payloads", "violations", "strays", "malformed", "echoes")
            assert {key: statistics[key] for key in troubles} == dict.fromkeys(troubles, 0)
            assert line.unseen_sessions == 0
    finally:
        await lines.__aexit__(None, None, None)


@pytest.mark.parametrize(("channel", "size"), [(PORT, 4 << 20), (UART, 32 << 10)])
async def test_a_message_longer_than_many_frames_arrives_whole_both_ways(
    guest: Machine, channel: str, size: int, stopwatch: Stopwatch
) -> None:
    sent = bytes(range(256)) * (size // 256)
    async with connected(url_of(guest, channel, told=True)) as line:
        with stopwatch(f"{size >> 10} KiB there and back over {channel}"):
            assert await line.guest.call("probe.echo", value=sent) == sent


@pytest.mark.parametrize("channel", [PORT, UART])
async def test_a_ping_overtakes_a_long_message(guest: Machine, channel: str, stopwatch: Stopwatch) -> None:
    size = (8 << 20) if channel == PORT else (32 << 10)
    async with connected(url_of(guest, channel, told=True)) as line:
        long = asyncio.create_task(line.guest.call("probe.size", data=bytes(size)))
        await asyncio.sleep(0)  # the long one is first in the queue
        with stopwatch(f"ping behind {size >> 10} KiB over {channel}"):
            await line.guest.ping()
        assert not long.done()
        assert await long == size


async def test_the_guest_tells_what_is_wrong_with_a_call(guest: Machine) -> None:
    async with connected(url_of(guest, PORT)) as line:
        with pytest.raises(MethodNotFound, match="probe.ecko"):
            await line.guest.call("probe.ecko", value=1)
        with pytest.raises(InvalidArgument, match="valeu"):
            await line.guest.call("probe.echo", valeu=1)
        with pytest.raises(MethodNotFound, match="desk.dubble"):
            await line.guest.call("probe.relay", method="desk.dubble", params={})


async def test_a_deadline_ends_the_wait_and_the_handler_in_the_guest(guest: Machine) -> None:
    async with connected_to_both(guest) as lines:
        for line in lines:
            held = await line.begin("probe.hold", "late", deadline=1.0)
            with pytest.raises(DeadlineExceeded) as caught:
                await held
            assert caught.value.may_have_run
            await line.guest.agent.ping()  # it may come with the cancel, and is answered before the handler's task ends
            # a handler that is cancelled is no longer counted among the open calls; the ping itself is one
            assert (await line.guest.agent.ping()).open_calls == 1


async def test_a_cancelled_call_is_cancelled_in_the_guest(guest: Machine) -> None:
    async with connected_to_both(guest) as lines:
        for line in lines:
            held = await line.begin("probe.hold", "unwanted")
            assert (await line.guest.agent.ping()).open_calls == 2
            held.cancel()
            await asyncio.wait([held])
            await line.guest.agent.ping()  # it may come with the cancel, and is answered before the handler's task ends
            assert (await line.guest.agent.ping()).open_calls == 1
